"""wcs adjust by cross-correlation, from files to files, in a band with few stars."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from webbalign.core.correlation import CorrelationStatus
from webbalign.core.errors import InputError, OptionError
from webbalign.core.image_pairs import GridImage, ImagePair
from webbalign.core.planes import TangentPlane
from webbalign.pipelines import _stack_bands
from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.pipelines.wcs_adjust import GetWCSAdjustStep, get_wcs_adjust
from webbalign.products.corrector import Correction
from webbalign.products.image_files import read_info
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection, WcsAdjust
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.simulate.mosaic_truth import read_frame_truth

SIZE = 200
VISITS = [f"jw0999800200{k}" for k in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Four visits of two exposures with nebulosity."""
    options = MosaicSimulation(
        bands=("F770W",), visits=4, dithers=2, size=SIZE, jitter=0.0, dither_step=2.0
    )
    return simulate_mosaic(tmp_path_factory.mktemp("field") / "F770W", options).truth.parent


def images(field, *visits):
    paths = sorted(field.glob("*_cal.fits"))
    return [path for path in paths if path.name[:13] in (visits or VISITS)]


def get(paths, folder, **options):
    return get_wcs_adjust({"F770W": paths}, output_dir=folder, method="cross_corr", **options)


def error_mas(field, paths):
    """Rms distance of pixels from their places after one rigid move of all images."""
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.linspace(10, SIZE - 10, 5)] * 2))
    truth = {row["filename"]: field / row["truth"] for row in Table.read(field / "truth.ecsv")}
    plane, found, wanted = None, [], []
    for path in paths:
        sky = np.stack(read_frame_truth(truth[path.name]).wcs(x, y, with_bounding_box=False), -1)
        given = np.stack(read_info(path).wcs(x, y, with_bounding_box=False), -1)
        plane = plane or TangentPlane.about(*sky[12])
        found.append(plane.from_sky(given))
        wanted.append(plane.from_sky(sky))
    found, wanted = np.concatenate(found), np.concatenate(wanted)
    rows = np.zeros((len(found), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, 0, 2], rows[:, 1, 2] = -found[:, 1], found[:, 0]
    move = np.linalg.lstsq(rows.reshape(-1, 3), (wanted - found).ravel(), rcond=None)[0]
    return 1e3 * float(np.sqrt(np.mean(np.sum((found + rows @ move - wanted) ** 2, axis=-1))))


def corrected(adjust, paths, folder):
    return [image.path for image in apply_wcs_adjust(adjust, paths, output_dir=folder)]


def test_what_cannot_be_measured_is_named_and_the_rest_is_right(field, tmp_path):
    whole, single, empty, far = VISITS
    paths = images(field, whole) + images(field, single)[:1]
    lost = tmp_path / "in"
    # a visit that lies elsewhere
    away = VisitCorrection(
        AdjustKey(far), Correction(np.eye(2), np.array([200.0, 0.0])),
        reference=tuple(read_info(images(field, far)[0]).wcs(SIZE / 2, SIZE / 2)),
        status=AdjustStatus.ALIGNED,
    )  # fmt: skip
    gone = corrected(WcsAdjust((away,), {}), images(field, far), lost)
    nothing = [lost / path.name for path in images(field, empty)]
    for source, path in zip(images(field, empty), nothing, strict=True):
        with fits.open(source) as hdulist:
            hdulist["SCI"].data[:] = np.nan
            hdulist.writeto(path)
    adjust = get(paths + nothing + gone, tmp_path)
    assert sorted(adjust.of(visit).status for visit in (whole, single)) == ["ALIGNED", "REFERENCE"]
    assert adjust.of(empty).status is AdjustStatus.FAILED
    assert "no good pixel" in adjust.of(empty).reason
    assert adjust.of(far).status is AdjustStatus.UNCHANGED
    assert "overlaps no other visit" in adjust.of(far).reason
    for visit, count in ((whole, 2), (single, 1)):
        entry = adjust.of(visit)
        assert (entry.n_images, entry.n_used, entry.bands) == (count, 1, ("F770W",))
    assert not adjust.all_aligned
    assert error_mas(field, paths) > 100
    assert error_mas(field, corrected(adjust, paths, tmp_path / "out")) < 3
    table = Table.read(tmp_path / "get_wcs_adjust" / "F770W_cross_corr_pairs.ecsv")
    assert table["status"].tolist() == ["OK"]
    assert table["used"].all()


@pytest.mark.slow
def test_a_wrong_pair_is_left_out_and_told(field, tmp_path, monkeypatch):
    measure = _stack_bands.measure_pair

    def wrong(first, second, *args, **details):
        pair = measure(first, second, *args, **details)
        assert pair.status is CorrelationStatus.OK
        bad = (pair.first, pair.second) == tuple(VISITS[1:3])
        return replace(pair, shift=pair.shift + 0.5) if bad else pair

    monkeypatch.setattr(_stack_bands, "measure_pair", wrong)
    adjust = get(images(field), tmp_path)
    assert adjust.all_aligned
    for visit, count in zip(VISITS, (3, 2, 2, 3), strict=True):
        assert adjust.of(visit).n_used == count
    assert f"without the pair with {VISITS[2]}" in adjust.of(VISITS[1]).reason
    assert error_mas(field, corrected(adjust, images(field), tmp_path / "out")) < 3


@pytest.mark.slow
def test_the_order_of_files_changes_nothing(field, tmp_path):
    paths = images(field, *VISITS[:3])
    first, second = get(paths, tmp_path / "a"), get(paths[::-1], tmp_path / "b")
    for one, two in zip(first.entries, second.entries, strict=True):
        assert (one.key, one.status) == (two.key, two.status)
        np.testing.assert_array_equal(two.correction.shift, one.correction.shift)


def test_one_visit_is_the_reference(field, tmp_path):
    adjust = get(images(field, VISITS[0]), tmp_path)
    assert [entry.status for entry in adjust.entries] == [AdjustStatus.REFERENCE]
    assert "no other image" in adjust.entries[0].reason
    np.testing.assert_array_equal(adjust.entries[0].correction.matrix, np.eye(2))


def test_a_catalog_does_not_hold_what_is_correlated(field, tmp_path):
    catalog = field / "gaia.ecsv"
    adjust = get(images(field, VISITS[0]), tmp_path, alignment_catalog=catalog)
    assert adjust.entries[0].status is AdjustStatus.RELATIVE_ONLY
    assert not adjust.all_aligned


@pytest.mark.parametrize(
    ("options", "words"),
    [({"corr_searchrat": 1.0}, "corr_searchrat"), ({"corr_searchrad": -1.0}, "corr_searchrad")],
)
def test_options_of_the_correlation_that_cannot_be_followed_are_named(
    field, tmp_path, options, words
):
    with pytest.raises(OptionError, match=words):
        get(images(field), tmp_path, **options)


def test_a_search_that_is_too_small_finds_nothing(field, tmp_path):
    adjust = get(images(field, *VISITS[:2]), tmp_path, corr_searchrad=0.2, corr_rotation=False)
    assert [entry.status for entry in adjust.entries] == ["REFERENCE", "UNCHANGED"]
    assert adjust.run["bands"]["F770W"]["correlation"]["corr_searchrad"] == 0.2


# Not twice ----------------------------------------------------------------------------------------


@pytest.fixture
def stacked(monkeypatch):
    """Count the stacks that are made; pairs are not what is looked at."""
    made = []

    def count(name, paths, grid, options, *, box):
        made.append(name)
        first = fits.getdata(paths[0], "SCI")[:40, :40].astype(np.float32)
        return GridImage(name, first, np.ones_like(first), (box.y0, box.x0), len(paths))

    def nothing(first, second, *args, **details):
        none = np.full(2, np.nan)
        return ImagePair(
            first.name, second.name, CorrelationStatus.NO_SIGNAL, none, none, 0.0,
            np.full((2, 2), np.nan), np.inf, 0, 0.0,
        )  # fmt: skip

    monkeypatch.setattr(_stack_bands, "stack_images", count)
    monkeypatch.setattr(_stack_bands, "measure_pair", nothing)
    return made


def test_a_finished_stack_is_not_made_again(field, stacked, tmp_path):
    visits, folder = VISITS[:2], tmp_path / "out"
    copies = [Path(shutil.copy(images(field, visit)[0], tmp_path)) for visit in visits]
    kept = folder / "get_wcs_adjust" / "stacks"

    def remade(**options):
        stacked.clear()
        get(copies, folder, **options)
        return sorted(stacked)

    assert remade() == visits
    whole = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert sorted(whole) == [f"F770W_{visit}_mirimage.npz" for visit in visits]
    # the band is measured again, its stacks are not made again
    assert remade(corr_rotation=False) == []
    # what a changed image is in, and nothing else
    with fits.open(copies[0], mode="update") as hdulist:
        hdulist["SCI"].data[3, 3] += 1
    assert remade(corr_rotation=False) == [copies[0].name[:13]]
    # what an interrupted run or a failing disk leaves
    broken = kept / f"F770W_{visits[1]}_mirimage.npz"
    broken.write_bytes(whole[broken.name][:-200])
    assert remade() == [visits[1]]
    assert broken.read_bytes() == whole[broken.name]
    flipped = bytearray(whole[broken.name])
    flipped[len(flipped) // 2] ^= 255
    broken.write_bytes(flipped)
    assert remade(corr_highpass=12.0) == [visits[1]]
    assert remade(corr_highpass=12.0) == []
    assert remade(corr_highpass=12.0, overwrite=True) == visits


def test_stacks_can_be_written(field, tmp_path):
    step = GetWCSAdjustStep(field.parent, None, "m51", tmp_path, bands=["F770W"])
    names = [VISITS[0], f"{VISITS[1]}_mirimage"]
    assert step.make_stacked_images(names, field, tmp_path) == [True, True]
    with fits.open(tmp_path / f"{VISITS[0]}_stacked.fits") as hdulist:
        assert hdulist["WHT"].data.max() == 2
        wcs, data = WCS(hdulist["SCI"].header), hdulist["SCI"].data
    info = read_info(images(field, VISITS[0])[0])
    x, y = wcs.world_to_pixel_values(*info.wcs(SIZE / 2, SIZE / 2))
    assert np.isfinite(data[round(float(y)), round(float(x))])
    with pytest.raises(InputError, match="jw00000000000"):
        step.parallel_make_stacked_image("jw00000000000", field, tmp_path)
