import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from webbalign.core.errors import InputError, WebbalignError
from webbalign.products import models, streams
from webbalign.products.atomic import PARTIAL

SHAPE = (3, 4, 16, 15)


@pytest.fixture
def like(sequence):
    return models.open_cube(sequence.association.parent / sequence.psf[0], wcs=False)


@pytest.fixture
def parts():
    rng = np.random.default_rng(7)
    return [
        streams.AlignedSlice(
            rng.normal(size=SHAPE[1:]).astype("f4"),
            rng.normal(size=SHAPE[1:]).astype("f4"),
            rng.integers(0, 2**32, SHAPE[1:], dtype=np.uint32),
        )
        for _ in range(SHAPE[0])
    ]


TABLE = np.array(
    [(0, 1, 2.5, b"OK")], [("sci_int", "i4"), ("psf_int", "i4"), ("dx", "f8"), ("s", "S4")]
)


def write(path, like, parts):
    with streams.QuadWriter(path, SHAPE, like) as writer:
        writer.model.meta.cal_step.align_psfs = "COMPLETE"
        for index in (2, 0, 1):  # any order
            writer.write(index, parts[index])
        return writer.finish(TABLE)


def test_streamed_product_is_an_ordinary_file(tmp_path, like, parts):
    path = tmp_path / "x_psfalign.fits"
    model = write(path, like, parts)
    assert not path.exists()
    models.save(model, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with datamodels.open(path) as plain:
        plain.validate()
        assert isinstance(plain, datamodels.QuadModel)
        assert plain.meta.filename == path.name
        assert plain.meta.cal_step.align_psfs == "COMPLETE"
        for index, part in enumerate(parts):
            np.testing.assert_array_equal(plain.data[index], part.data)
            np.testing.assert_array_equal(plain.err[index], part.err)
            np.testing.assert_array_equal(plain.dq[index], part.dq)
    with fits.open(path) as hdulist:
        hdulist.verify("exception")
        assert [hdu.name for hdu in hdulist][1:] == ["SCI", "DQ", "ERR", "SHIFTS", "ASDF"]
        assert hdulist["SHIFTS"].data["dx"][0] == 2.5


def test_lazily_opened_model_gives_the_same(tmp_path, like, parts):
    path = tmp_path / "x_psfalign.fits"
    models.save(write(path, like, parts), path)
    model = streams.open_aligned(path)
    assert model.shape == SHAPE
    for index, part in enumerate(parts):
        for mine, theirs in zip(model.part(index), part, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert model.data.shape == SHAPE
    assert models.extension(model, "SHIFTS")["dx"][0] == 2.5


def test_reads_what_stdatamodels_has_written(tmp_path, parts):
    plain = datamodels.QuadModel(
        data=np.stack([p.data for p in parts]),
        err=np.stack([p.err for p in parts]),
        dq=np.stack([p.dq for p in parts]),
    )
    plain.save(str(tmp_path / "y_psfalign.fits"))
    model = streams.open_aligned(tmp_path / "y_psfalign.fits")
    for mine, theirs in zip(model.part(1), parts[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_unsaved_product_leaves_nothing(tmp_path, like, parts):
    model = write(tmp_path / "x.fits", like, parts)
    model.close()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_product_leaves_nothing(tmp_path, like, parts):
    with (
        pytest.raises(KeyboardInterrupt),
        streams.QuadWriter(tmp_path / "x.fits", SHAPE, like) as w,
    ):
        w.write(0, parts[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_told_before_anything_is_written(tmp_path, like):
    with pytest.raises(WebbalignError, match="GB are free - .* - give .*align-to first"):
        streams.QuadWriter(tmp_path / "x.fits", (10**6, 10**3, 320, 320), like)
    assert not list(tmp_path.glob("*.fits"))
    assert not list(tmp_path.glob(f"{PARTIAL}/*"))


def test_computed_product_is_computed_on_demand(like, parts):
    asked = []

    def part(index):
        asked.append(index)
        return parts[index]

    model = streams.ComputedQuad(like, SHAPE, part)
    assert model.shape == SHAPE
    assert asked == []
    np.testing.assert_array_equal(model.part(2).data, parts[2].data)
    assert asked == [2]


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no such file - .*none\.fits - "):
        streams.open_aligned(tmp_path / "none.fits")
