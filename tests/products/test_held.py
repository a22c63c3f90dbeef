from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.errors import InputError
from webbalign.core.mapped import release, scratch_of, visit
from webbalign.products import held, models
from webbalign.products.flagged import save_flagged

CUBES = tuple(models.EXTENSIONS)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(held, "SMALL", 0)


@pytest.fixture
def exposure(sequence):
    return sequence.association.parent / sequence.science[0]


def same_content(one, other, *, without=()):
    with fits.open(one) as first, fits.open(other) as second:
        assert {hdu.name for hdu in first} == {hdu.name for hdu in second}
        for hdu in first:
            twin = second[hdu.name]
            if hdu.name in without:
                continue
            difference = fits.HeaderDiff(
                hdu.header, twin.header, ignore_keywords=["DATE", "FILENAME"], ignore_comments=["*"]
            )
            assert difference.identical, f"{hdu.name}: {difference.report()}"
            if hdu.data is not None:
                np.testing.assert_array_equal(hdu.data, twin.data)


def test_a_held_exposure_is_as_an_open_one(exposure, tmp_path):
    model, expected = held.hold(exposure, tmp_path), models.open_cube(exposure)
    assert held.is_held(model)
    assert not held.is_held(expected)
    for name in CUBES:
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
        assert scratch_of(getattr(model, name)) is not None
    np.testing.assert_array_equal(model.meta.wcs(3, 4), expected.meta.wcs(3, 4))
    assert model.meta.wcsinfo.instance == expected.meta.wcsinfo.instance
    assert list(tmp_path.iterdir()) == []  # the scratch files have no name


def test_compressed_exposures(exposure, tmp_path):
    packed = tmp_path / f"{exposure.name}.gz"
    packed.write_bytes(gzip.compress(exposure.read_bytes(), 1))
    model = held.hold(packed, tmp_path)
    assert held.is_held(model)
    np.testing.assert_array_equal(model.dq, models.open_cube(exposure).dq)


def test_small_exposures_stay_in_memory(exposure, tmp_path, monkeypatch):
    monkeypatch.setattr(held, "SMALL", 1e12)
    assert not held.is_held(held.hold(exposure, tmp_path))


def test_a_full_disk_leaves_the_exposure_in_memory(exposure, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(held.os, "posix_fallocate", full)
    assert not held.is_held(held.hold(exposure, tmp_path))


def test_without_valid_pixel(exposure, tmp_path):
    with fits.open(exposure) as hdulist:
        hdulist["SCI"].data[:] = np.nan
        hdulist.writeto(tmp_path / "dead_calints.fits")
    with pytest.raises(InputError, match=r"no valid pixel.* - dead_calints.fits - "):
        held.hold(tmp_path / "dead_calints.fits", tmp_path)


def test_what_is_written_survives_its_release(exposure, tmp_path):
    model = held.hold(exposure, tmp_path)
    expected = np.array(model.data)
    for index in visit(model.data):
        model.data[index] *= 2
        expected[index] *= 2
    release(model.data, model.err[1], None, expected)
    np.testing.assert_array_equal(model.data, expected)


def test_more_room_like_a_cube(exposure, tmp_path):
    model = held.hold(exposure, tmp_path)
    for like in (model.data, np.array(model.dq)):
        room = held.allocate(like)
        assert not room.any()
        assert (room.shape, room.dtype) == (like.shape, like.dtype)
        assert (scratch_of(room) is None) == (scratch_of(like) is None)


def changed(model):
    model.data[0, 2, 3], model.err[1, 4, 5] = np.nan, 7.0
    model.dq[0, 2, 3] |= np.uint32(0x80000001)
    model.var_flat[0, 2, 3] = np.nan
    models.add_history(model, "tested")
    model.meta.cal_step.outlier_detection = "COMPLETE"
    return model


def test_flagged_exposures_are_saved_as_from_memory(exposure, tmp_path):
    save_flagged(changed(models.open_cube(exposure)), tmp_path / "one.fits")
    path = held.save_held(changed(held.hold(exposure, tmp_path)), tmp_path / "b.fits", flagged=True)
    same_content(tmp_path / "one.fits", path)
    with fits.open(exposure) as before, fits.open(path) as after:
        assert before["ASDF"].data.tobytes() == after["ASDF"].data.tobytes()


def test_flagged_exposures_without_errors_get_them(exposure, tmp_path):
    with fits.open(exposure) as hdulist:
        del hdulist["ERR"]
        hdulist.writeto(tmp_path / "bare_calints.fits")
    bare = tmp_path / "bare_calints.fits"
    path = held.save_held(held.hold(bare, tmp_path), tmp_path / "b_crfints.fits", flagged=True)
    np.testing.assert_array_equal(models.open_cube(path).err, models.open_cube(bare).err)


def test_products_are_saved_as_from_memory(exposure, tmp_path):
    for name, model in (
        ("one.fits", models.open_cube(exposure)),
        ("b.fits", held.hold(exposure, tmp_path)),
    ):
        models.add_extension(changed(model), "VAR_COMMON", np.ones(model.shape[1:], np.float32))
        save = held.save_held if held.is_held(model) else models.save
        save(model, tmp_path / name)
        assert model.meta.filename == name
    same_content(tmp_path / "one.fits", tmp_path / "b.fits", without=("ASDF",))
    with CubeModel(str(tmp_path / "b.fits")) as again:
        again.validate()
        np.testing.assert_array_equal(again.meta.wcs(3, 4), model.meta.wcs(3, 4))
        assert models.history(again)[-1] == "tested"


def test_products_are_not_replaced_against_the_will(exposure, tmp_path):
    (tmp_path / "b.fits").write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        held.save_held(held.hold(exposure, tmp_path), tmp_path / "b.fits", overwrite=False)
    assert (tmp_path / "b.fits").read_text() == "precious"


def test_a_large_cube_is_written_image_by_image_with_the_same_content(exposure, tmp_path):
    cube = models.open_cube(exposure, wcs=False)
    stack = models.new_cube(cube, cube.data, cube.err, cube.dq)
    assert held.is_large(stack.data)
    held.save_held(stack, tmp_path / "one.fits")
    models.save(stack, tmp_path / "other.fits")
    same_content(tmp_path / "one.fits", tmp_path / "other.fits", without=("ASDF",))
    with CubeModel(str(tmp_path / "one.fits")) as opened:
        np.testing.assert_array_equal(opened.data, cube.data)
        np.testing.assert_array_equal(opened.dq, cube.dq)
