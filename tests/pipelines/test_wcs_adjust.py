"""wcs adjust by stars, from files to files: measured in one band, right in every other."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from webbalign.core.errors import InputError, OptionError
from webbalign.core.planes import TangentPlane
from webbalign.pipelines import _star_bands
from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.pipelines.wcs_adjust import GetWCSAdjustStep, band_images, get_wcs_adjust
from webbalign.products.image_files import read_info
from webbalign.products.wcs_adjust_file import AdjustStatus, read_wcs_adjust
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.simulate.mosaic_truth import read_frame_truth

SIZE = 400


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Two visits of two exposures, in two channels of NIRCam."""
    options = MosaicSimulation(
        bands=("F300M", "F150W"), dithers=2, size=SIZE, star_density=2500.0,
        magnitudes=(16.0, 23.0), gaia_limit=23.0, galaxies=0.0, detectors=("nrca1", "nrcalong"),
    )  # fmt: skip
    return simulate_mosaic(tmp_path_factory.mktemp("field"), options)


def folder_of(field):
    return field.truth.parent


def images(field, *bands):
    return {band: band_images(folder_of(field), band) for band in bands}


@pytest.fixture(scope="module")
def measured(field, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    adjust = get_wcs_adjust(images(field, "F300M"), target="m51", output_dir=folder)
    return folder, adjust


def errors_mas(field, folder):
    """Distance (n, 2) in mas, along x and y, of where images put pixels from where they are.

    One rigid move of all of them is taken out: without a catalog the frame is that of a visit.
    """
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.linspace(10, SIZE - 10, 5)] * 2))
    found, wanted, plane = [], [], None
    for row in Table.read(field.truth):
        true = read_frame_truth(folder_of(field) / row["truth"]).wcs
        sky = np.stack(true(x, y, with_bounding_box=False), axis=-1)
        plane = plane or TangentPlane.about(*sky[12])
        wcs = read_info(folder / row["path"]).wcs
        given = np.stack(wcs(x, y, with_bounding_box=False), axis=-1)
        found.append(plane.from_sky(given))
        wanted.append(plane.from_sky(sky))
    found, wanted = np.concatenate(found), np.concatenate(wanted)
    rows = np.zeros((len(found), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, 0, 2], rows[:, 1, 2] = -found[:, 1], found[:, 0]
    move = np.linalg.lstsq(rows.reshape(-1, 3), (wanted - found).ravel(), rcond=None)[0]
    return 1e3 * (found + rows @ move - wanted)


def rms(values):
    return float(np.sqrt(np.mean(np.sum(np.square(values), axis=-1))))


def apply(field, table, folder):
    return apply_wcs_adjust(table, [folder_of(field) / b for b in field.files], output_dir=folder)


def test_both_bands_are_right_by_what_one_of_them_gave(field, measured, tmp_path):
    folder, adjust = measured
    done = apply(field, folder / "m51_wcs_adjust.toml", tmp_path)
    assert rms(errors_mas(field, tmp_path)) < 0.5
    assert {image.status for image in done} <= {AdjustStatus.ALIGNED, AdjustStatus.REFERENCE}
    assert [image.path.name for image in done] == [path.name for path in sorted_files(field)]
    assert all("_0210" in image.key for image in done)
    assert adjust.all_aligned


def sorted_files(field):
    return [path for band in field.files for path in band_images(folder_of(field), band)]


@pytest.mark.slow
def test_one_correction_per_visit_leaves_its_jitter(field, tmp_path):
    adjust = get_wcs_adjust(images(field, "F300M"), output_dir=tmp_path, group_dithers="nircam")
    assert [str(entry.key) for entry in adjust.entries] == ["jw09998001001", "jw09998001002"]
    apply(field, adjust, tmp_path / "out")
    # 3 mas per axis and exposure, of which a visit's correction takes the mean
    assert 0.5 < rms(errors_mas(field, tmp_path / "out")) < 6


def test_the_table_says_what_was_done(measured):
    folder, adjust = measured
    again = read_wcs_adjust(folder / "m51_wcs_adjust.toml")
    assert [str(entry.key) for entry in again.entries] == [
        "jw09998001001", "jw09998001001_02101_00001", "jw09998001001_02101_00002",
        "jw09998001002", "jw09998001002_02101_00001", "jw09998001002_02101_00002",
    ]  # fmt: skip
    visits = [entry for entry in again.entries if not entry.key.exposure]
    assert sorted(entry.status for entry in visits) == ["ALIGNED", "REFERENCE"]
    for entry in again.entries:
        assert entry.bands == ("F300M",)
        assert entry.methods == ("tweakreg",)
        assert entry.n_used > 15
    assert again.run["target"] == "m51"
    assert again.run["bands"]["F300M"]["n_images"] == 4


@pytest.mark.slow
def test_the_order_of_files_and_bands_changes_nothing(field, measured, tmp_path):
    both = images(field, "F300M", "F150W")
    first = get_wcs_adjust(both, output_dir=tmp_path / "a")
    mixed = {band: both[band][::-1] for band in reversed(both)}
    second = get_wcs_adjust(mixed, output_dir=tmp_path / "b")
    for one, two in zip(first.entries, second.entries, strict=True):
        assert (one.key, one.status, one.bands) == (two.key, two.status, two.bands)
        np.testing.assert_allclose(two.correction.shift, one.correction.shift, atol=1e-9)
        np.testing.assert_allclose(two.correction.matrix, one.correction.matrix, atol=1e-12)
    assert first.of("jw09998001001").bands == ("F150W", "F300M")
    assert max(entry.chi2_reduced for entry in first.entries if entry.key.exposure) < 20


def test_an_alignment_catalog_holds_all(field, tmp_path):
    catalog = Table.read(field.gaia)
    catalog.rename_columns(["ra", "dec"], ["RA", "Dec"])
    catalog.write(tmp_path / "stars.fits")
    step = GetWCSAdjustStep(
        directory=tmp_path / "target",
        progress_dict={"F300M": {"dir": str(folder_of(field) / "F300M"), "success": True}},
        target="m51", alignment_dir=tmp_path, bands=["F300M", "F1000W"],
        alignment_catalogs={"m51": "stars.fits"}, group_dithers=["nircam"],
        tweakreg_parameters={"brightest": {"nircam": 150}},
    )  # fmt: skip
    assert step.do_step() is True
    assert {entry.status for entry in step.result.entries} == {AdjustStatus.ALIGNED}
    assert {entry.frame for entry in step.result.entries} == {"stars.fits"}
    run = step.result.run["bands"]["F300M"]
    assert run["tweakreg_parameters"]["brightest"] == 150
    read = read_wcs_adjust(tmp_path / "target" / "m51_wcs_adjust.toml")
    transforms = step.get_visit_transforms(tmp_path / "target" / "get_wcs_adjust")
    for entry in read.entries:
        np.testing.assert_array_equal(transforms[str(entry.key)]["shift"], entry.correction.shift)


# Not twice ----------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Count the images in which stars are searched."""
    calls = []
    original = _star_bands.find_in_image

    def count(task):
        calls.append(task.source)
        return original(task)

    monkeypatch.setattr(_star_bands, "find_in_image", count)
    return calls


def get(field, folder, **options):
    return get_wcs_adjust(images(field, "F300M"), output_dir=folder, **options)


def test_a_finished_band_is_not_measured_again(field, measured, counted, tmp_path):
    folder, first = measured
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    second = get(field, tmp_path, target="m51")
    assert not counted
    for one, two in zip(first.entries, second.entries, strict=True):
        np.testing.assert_array_equal(two.correction.shift, one.correction.shift)
        np.testing.assert_array_equal(two.cov, one.cov)
    get(field, tmp_path, tweakreg_parameters={"brightest": 100})
    assert len(counted) == 4
    get(field, tmp_path, overwrite=True, tweakreg_parameters={"brightest": 100})
    assert len(counted) == 8


@pytest.mark.slow
def test_changed_pixels_are_measured_again(field, counted, tmp_path):
    copies = [Path(shutil.copy(path, tmp_path)) for path in images(field, "F300M")["F300M"]]
    get_wcs_adjust({"F300M": copies}, output_dir=tmp_path / "out")
    with fits.open(copies[0], mode="update") as hdulist:
        hdulist["SCI"].data[3, 3] += 1
    get_wcs_adjust({"F300M": copies}, output_dir=tmp_path / "out")
    assert len(counted) == 8


def test_what_an_interrupted_run_leaves_is_no_result(field, measured, counted, tmp_path):
    kept = tmp_path / "get_wcs_adjust" / "F300M_tweakreg.toml"
    kept.parent.mkdir()
    text = (measured[0] / "get_wcs_adjust" / kept.name).read_text()
    kept.write_text(text[: len(text) // 2])
    get(field, tmp_path)
    assert len(counted) == 4


# Hard cases ---------------------------------------------------------------------------------------


def copies_of(field, folder, band="F300M"):
    folder.mkdir()
    return [Path(shutil.copy(path, folder)) for path in images(field, band)[band]]


def test_an_image_of_nan_takes_the_correction_of_its_visit(field, tmp_path):
    copies = copies_of(field, tmp_path / "in")
    with fits.open(copies[0], mode="update") as hdulist:
        hdulist["SCI"].data[:] = np.nan
    adjust = get_wcs_adjust({"F300M": copies}, output_dir=tmp_path / "out")
    assert adjust.of("jw09998001001_02101_00001") is None
    assert "jw09998001001_02101_00001 not measured" in adjust.of("jw09998001001").reason
    (first, *_) = apply_wcs_adjust(adjust, copies, output_dir=tmp_path / "corrected")
    assert first.key == "jw09998001001"
    assert adjust.all_aligned


@pytest.mark.slow
def test_a_visit_without_stars_is_named_and_unchanged(field, tmp_path):
    copies = copies_of(field, tmp_path / "in")
    for path in copies[:2]:
        with fits.open(path, mode="update") as hdulist:
            noise = np.random.default_rng(1).normal(0, 0.01, (SIZE, SIZE))
            hdulist["SCI"].data[:] = 1 + noise
    adjust = get_wcs_adjust({"F300M": copies}, output_dir=tmp_path / "out")
    entry = adjust.of("jw09998001001")
    assert entry.status is AdjustStatus.UNCHANGED
    assert entry.reason
    assert not adjust.all_aligned
    done = apply_wcs_adjust(adjust, copies, output_dir=tmp_path / "corrected")
    assert [image.is_aligned for image in done] == [False, False, True, True]
    x = np.linspace(0, SIZE, 5)
    before, after = (
        read_info(p).wcs(x, x, with_bounding_box=False) for p in (copies[0], done[0].path)
    )
    np.testing.assert_array_equal(after, before)
    assert fits.getval(done[0].path, "S_TWKREG") == "FAILED"


@pytest.mark.parametrize("count", [1, 2])
def test_one_exposure_and_one_visit_are_enough(field, tmp_path, count):
    paths = images(field, "F300M")["F300M"][:count]
    adjust = get_wcs_adjust({"F300M": paths}, output_dir=tmp_path)
    assert adjust.of("jw09998001001").status is AdjustStatus.REFERENCE
    assert adjust.all_aligned


def test_a_missing_band_is_named(field, tmp_path):
    with pytest.raises(InputError, match="no such folder .* - .*F999W - give"):
        band_images(folder_of(field), "F999W")
    (tmp_path / "F999W").mkdir()
    with pytest.raises(InputError, match="no \\*_cal.fits"):
        band_images(tmp_path, "F999W")
    step = GetWCSAdjustStep(tmp_path, None, "m51", tmp_path, bands=["F999W"])
    with pytest.raises(InputError, match="no images of F999W"):
        step.do_step()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "optical_flow"}, "method"),
        ({"method": {"acs": "tweakreg"}}, "acs"),
        ({"method": "{nircam tweakreg}"}, "method"),
        ({"reproject_func": "drizzle"}, "reproject_func"),
        ({"group_dithers": ["acs"]}, "group_dithers"),
        ({"tweakreg_parameters": {"brightes": 3}}, "brightes"),
        ({"tweakreg_parameters": {"brightest": {"nircam": 0}}}, "F300M.*brightest"),
        ({"tweakreg_parameters": {"group_by": "visit"}}, "group_dithers"),
        ({"custom_catalog_function": "no.such.function"}, "custom_catalog_function"),
    ],
)
def test_options_that_cannot_be_followed_are_named(field, tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        get(field, tmp_path, **options)
    assert not list(tmp_path.glob("*.toml"))


def test_modules_can_be_apart(field, tmp_path):
    adjust = get(field, tmp_path, degroup_nircam_modules=True, group_dithers=["nircam"])
    assert [str(entry.key) for entry in adjust.entries] == [
        "jw09998001001_nrca", "jw09998001002_nrca",
    ]  # fmt: skip


# Catalogs of the user's ---------------------------------------------------------------------------


def test_a_custom_catalog_function_is_used(field, measured, counted, tmp_path):
    seen = []

    def true_stars(model, folder, shift):
        seen.append((model.meta.filename, folder.is_dir()))
        name = model.meta.filename.replace("_cal.fits", "_truth.asdf")
        truth = read_frame_truth(folder_of(field) / "truth" / name)
        bright = truth.magnitude < 20
        return Table({"x": truth.x[bright] + shift, "y": truth.y[bright]})

    adjust = get(
        field, tmp_path, custom_catalog_function=true_stars,
        custom_catalog_function_kwargs={"shift": 0.0},
    )  # fmt: skip
    assert len(seen) == 4
    assert all(there for _, there in seen)
    apply(field, adjust, tmp_path / "out")
    assert rms(errors_mas(field, tmp_path / "out")) < 0.5
    assert {task.name for task in counted} == {name for name, _ in seen}
    assert not list((folder_of(field) / "F300M").glob("*_cat*"))


@pytest.mark.slow
def test_a_function_may_name_a_file_or_set_the_model(field, tmp_path):
    written = []

    def named(model):
        truth = read_frame_truth(
            folder_of(field) / "truth" / model.meta.filename.replace("_cal.fits", "_truth.asdf")
        )
        path = tmp_path / f"{model.meta.filename}.ecsv"
        Table({"x": truth.x, "y": truth.y})[truth.magnitude < 20].write(path, overwrite=True)
        written.append(path)
        if len(written) % 2:
            return path
        model.meta.tweakreg_catalog = str(path)
        return model

    assert get(field, tmp_path, custom_catalog_function=named).all_aligned
    assert len(written) == 4


def test_a_function_that_gives_no_catalog_is_an_error(field, tmp_path):
    for answer, words in ((None, "nothing"), ("nowhere.ecsv", "no such file"), (3, "int")):
        with pytest.raises(InputError, match=words):
            get(field, tmp_path, custom_catalog_function=lambda model, a=answer: a)
