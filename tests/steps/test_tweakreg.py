"""tweakreg from files to files: right where it can be, unchanged and said so where it cannot."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from stdatamodels.jwst.datamodels import ImageModel
from stpipe.exceptions import ValidationError

from webbalign.core.astrometry import ImageStatus
from webbalign.core.errors import InputError, OptionError
from webbalign.core.planes import TangentPlane
from webbalign.products.image_files import read_info
from webbalign.products.solutions import read_solution
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.simulate.mosaic_truth import read_frame_truth
from webbalign.steps import TweakRegStep
from webbalign.steps.tweakreg_parts import apply_solution, find_stars, solve

SIZE = 400


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Two visits of two exposures, dense enough for a small image."""
    options = MosaicSimulation(
        bands=("F300M",), dithers=2, size=SIZE, star_density=2000.0, magnitudes=(16.0, 23.0),
        gaia_limit=23.0, galaxies=0.0,
    )  # fmt: skip
    return simulate_mosaic(tmp_path_factory.mktemp("field"), options)


def align(source, folder, **options):
    """Run the step on files and save; return it."""
    step = TweakRegStep.create(
        str(source if not isinstance(source, list) else source[0]),
        output_dir=str(folder), save_results=True, **options,
    )  # fmt: skip
    step.run(source if not isinstance(source, list) else [str(path) for path in source])
    return step


def association(field):
    (path,) = field.associations.values()
    return path


def errors_mas(field, wcs_of, names):
    """Distance (n_images, n_points, 2) in mas of where images put pixels from where they are."""
    x, y = (grid.ravel() for grid in np.meshgrid(*[np.linspace(10, SIZE - 10, 5)] * 2))
    rows = {row["filename"]: row for row in Table.read(field.truth)}
    result = []
    for name in names:
        true = read_frame_truth(field.truth.parent / rows[name]["truth"])
        sky = np.stack(true.wcs(x, y, with_bounding_box=False), axis=-1)
        given = np.stack(wcs_of(name)(x, y, with_bounding_box=False), axis=-1)
        plane = TangentPlane.about(*sky[12])
        result.append(1e3 * (plane.from_sky(given) - plane.from_sky(sky)))
    return np.array(result)


def saved_wcs(folder):
    return lambda name: read_info(folder / name.replace("_cal", "_tweakreg")).wcs


def rms(values):
    return float(np.sqrt(np.mean(np.sum(np.square(values), axis=-1))))


@pytest.fixture(scope="module")
def aligned(field, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned")
    step = align(association(field), folder, abs_refcat=str(field.gaia), save_catalogs=True)
    return folder, step


def test_pointing_errors_are_corrected_to_the_noise(field, aligned):
    folder, step = aligned
    names = [path.name for path in field.all_files]
    before = errors_mas(field, lambda name: read_info(field.truth.parent / name).wcs, names)
    after = errors_mas(field, saved_wcs(folder), names)
    assert rms(before) > 200
    assert rms(after - after.mean(axis=(0, 1))) < 1.5
    quoted = [1e3 * np.sqrt(np.diag(row.cov)[4:].sum()) for row in step.solution.images]
    assert rms(after) < 3 * np.mean(quoted)
    assert {row.status for row in step.solution.images} == {ImageStatus.ALIGNED}


def test_products_are_whole_and_say_what_was_done(field, aligned):
    folder, step = aligned
    for path, row in zip(field.all_files, step.solution.images, strict=True):
        product = folder / path.name.replace("_cal", "_tweakreg")
        with ImageModel(product, strict_validation=True) as model:
            model.validate()
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            assert "v2v3corr" in model.meta.wcs.available_frames
            assert model.meta.filename == product.name
        with fits.open(product) as hdulist, fits.open(path) as before:
            assert hdulist["SCI"].header["SIPMXERR"] < 0.01
            assert hdulist["SCI"].header["S_REGION"] != before["SCI"].header["S_REGION"]
            np.testing.assert_array_equal(hdulist["SCI"].data, before["SCI"].data)
            assert str(row.status) in str(hdulist[0].header["HISTORY"])


def test_the_table_and_the_catalogs_lie_beside_the_products(field, aligned):
    folder, step = aligned
    table = Table.read(folder / "tweakreg_solution.ecsv")
    assert list(table["filename"]) == [path.name for path in field.all_files]
    for path in field.all_files:
        catalog = Table.read(folder / path.name.replace("_cal.fits", "_cat.ecsv"))
        assert {"id", "xcentroid", "ycentroid", "flux", "x_err", "y_err"} <= set(catalog.colnames)
    assert sorted(step.written) == sorted(folder.iterdir())


def test_the_order_of_the_files_changes_nothing(field, aligned, tmp_path):
    _, step = aligned
    again = align(list(reversed(field.all_files)), tmp_path, abs_refcat=str(field.gaia))
    for row in step.solution.images:
        other = again.solution.of(row.filename)
        np.testing.assert_allclose(other.correction.shift, row.correction.shift, atol=1e-9)
        np.testing.assert_allclose(other.correction.matrix, row.correction.matrix, atol=1e-12)


def test_the_three_parts_give_what_the_step_gives(field, aligned, tmp_path):
    folder, step = aligned
    files = [str(path) for path in field.all_files]
    found = find_stars(files, output_dir=tmp_path)
    solution = solve(
        [stars.catalog for stars in found], output_dir=tmp_path, abs_refcat=str(field.gaia)
    )
    apply_solution(tmp_path / "tweakreg_solution.ecsv", files, output_dir=tmp_path)
    for row, expected in zip(solution.images, step.solution.images, strict=True):
        assert row.status == expected.status
        np.testing.assert_allclose(row.correction.shift, expected.correction.shift, atol=1e-8)
    names = [path.name for path in field.all_files]
    x = np.linspace(0, SIZE, 5)
    for name in names:
        sky = saved_wcs(tmp_path)(name)(x, x, with_bounding_box=False)
        np.testing.assert_allclose(
            sky, saved_wcs(folder)(name)(x, x, with_bounding_box=False), atol=1e-11
        )


def test_a_second_run_composes_and_finds_nothing_left(aligned, field, tmp_path):
    folder, _ = aligned
    products = sorted(folder.glob("*_tweakreg.fits"))
    step = align(products, tmp_path, abs_refcat=str(field.gaia))
    for row in step.solution.images:
        assert row.status is ImageStatus.ALIGNED
        assert np.abs(row.correction.shift).max() < 2e-3
    wcs = read_info(tmp_path / products[0].name).wcs
    assert wcs.available_frames.count("v2v3corr") == 1


def test_models_are_copied_and_come_back_corrected(field):
    models = [ImageModel(path) for path in field.all_files]
    before = [model.meta.wcs(5.0, 5.0) for model in models]
    library = TweakRegStep.call(models, abs_refcat=str(field.gaia), configure_log=False)
    with library:
        for index, model in enumerate(library):
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            assert model.meta.wcs(5.0, 5.0) != before[index]
            library.shelve(model, index, modify=False)
    assert [model.meta.wcs(5.0, 5.0) for model in models] == before


def test_without_saving_nothing_is_written(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = TweakRegStep.call(str(association(field)), configure_log=False)
    assert len(library) == 4
    assert not list(tmp_path.iterdir())


def test_relative_alignment_keeps_the_reference_image(field, tmp_path):
    step = align(association(field), tmp_path)
    statuses = [row.status for row in step.solution.images]
    assert statuses.count(ImageStatus.REFERENCE) == 1
    assert statuses.count(ImageStatus.ALIGNED) == 3
    names = [path.name for path in field.all_files]
    after = errors_mas(field, saved_wcs(tmp_path), names)
    assert rms(after - after.mean(axis=0)) < 1.5
    reference = names[statuses.index(ImageStatus.REFERENCE)]
    with fits.open(tmp_path / reference.replace("_cal", "_tweakreg")) as hdulist:
        assert hdulist["SCI"].header["SIPMXERR"] < 0.01


# Hard cases: the right status, and never a wrong WCS ----------------------------------------------


def unchanged(field, folder, name):
    """Whether a product has the WCS of its input."""
    x = np.linspace(0, SIZE, 5)
    before = read_info(field.truth.parent / name).wcs(x, x, with_bounding_box=False)
    return np.array_equal(saved_wcs(folder)(name)(x, x, with_bounding_box=False), before)


@pytest.fixture
def copies(field, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return [shutil.copy(path, folder) and folder / path.name for path in field.all_files]


def edit(path, function):
    with fits.open(path, mode="update") as hdulist:
        function(hdulist)


def nothing_but_nan(hdulist):
    hdulist["SCI"].data[:] = np.nan


def all_pixels_bad(hdulist):
    hdulist["DQ"].data[:] |= 1


@pytest.mark.parametrize("spoil", [nothing_but_nan, all_pixels_bad])
def test_an_image_without_a_valid_pixel_fails_and_spoils_no_other(field, copies, tmp_path, spoil):
    edit(copies[0], spoil)
    step = align(copies, tmp_path / "out", abs_refcat=str(field.gaia))
    first, *others = step.solution.images
    assert first.status is ImageStatus.FAILED
    assert "valid" in first.reason
    assert {row.status for row in others} == {ImageStatus.ALIGNED}
    assert unchanged(field, tmp_path / "out", copies[0].name)
    with ImageModel(tmp_path / "out" / copies[0].name.replace("_cal", "_tweakreg")) as model:
        assert model.meta.cal_step.tweakreg == "FAILED"


def test_an_image_without_stars_stays(field, copies, tmp_path):
    def empty(hdulist):
        noise = np.random.default_rng(1).normal(0, 1, (SIZE, SIZE))
        hdulist["SCI"].data[:] = 1 + 0.01 * noise

    edit(copies[0], empty)
    step = align(copies, tmp_path / "out")
    assert step.solution.images[0].status is ImageStatus.UNCHANGED
    assert step.solution.images[0].n_found < 15
    assert unchanged(field, tmp_path / "out", copies[0].name)


@pytest.mark.parametrize("what", ["another field", "empty", "service down"])
def test_an_absolute_catalog_that_cannot_be_used_leaves_the_relative_alignment(
    field, tmp_path, what, monkeypatch
):
    gaia = Table.read(field.gaia)
    catalog = tmp_path / "cat.ecsv"
    if what == "another field":
        rng = np.random.default_rng(2)
        for name in ("ra", "dec"):
            gaia[name] = rng.uniform(gaia[name].min(), gaia[name].max(), len(gaia))
    if what == "empty":
        gaia = gaia[:0]
    gaia.write(catalog)
    name = str(catalog)
    if what == "service down":
        monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", "http://127.0.0.1:9/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        name = "GAIADR3"
    step = align(association(field), tmp_path / "out", abs_refcat=name)
    for row in step.solution.images:
        assert row.status is ImageStatus.RELATIVE_ONLY
        assert row.reason
    names = [path.name for path in field.all_files]
    after = errors_mas(field, saved_wcs(tmp_path / "out"), names)
    assert rms(after - after.mean(axis=0)) < 1.5


def test_a_custom_catalog_is_used_in_all_three_ways(field, aligned, tmp_path):
    folder, step = aligned
    catalogs = {
        path.name: folder / path.name.replace("_cal.fits", "_cat.ecsv") for path in field.all_files
    }
    listed = tmp_path / "catfile.txt"
    listed.write_text("".join(f"{name} {path}\n" for name, path in catalogs.items()))
    content = json.loads(association(field).read_text())
    for member in content["products"][0]["members"]:
        name = member["expname"]
        member["expname"] = str(field.truth.parent / name)
        member["tweakreg_catalog"] = str(catalogs[name.rpartition("/")[2]])
    asn = tmp_path / "asn.json"
    asn.write_text(json.dumps(content))
    common = {"abs_refcat": str(field.gaia), "use_custom_catalogs": True}
    by_catfile = align(association(field), tmp_path / "a", catfile=str(listed), **common)
    by_member = align(asn, tmp_path / "b", **common)
    for other in (by_catfile, by_member):
        for row in step.solution.images:
            np.testing.assert_allclose(
                other.solution.of(row.filename).correction.shift, row.correction.shift, atol=1e-8
            )


def test_products_name_their_catalogs_which_a_second_run_then_uses(field, aligned, tmp_path):
    folder, _ = aligned
    products = sorted(folder.glob("*_tweakreg.fits"))
    names = [path.name.replace("_tweakreg.fits", "_cat.ecsv") for path in products]
    assert [fits.getval(path, "TCATFILE") for path in products] == names
    catfile = tmp_path / "catfile.txt"
    catfile.write_text(f"{products[0].name}\n")
    options = {"use_custom_catalogs": True, "catfile": str(catfile)}
    step = align(products, tmp_path / "again", abs_refcat=str(field.gaia), **options)
    # an empty entry: the stars of this one are found anew
    again = sorted((tmp_path / "again").glob("*_tweakreg.fits"))
    assert "TCATFILE" not in fits.getheader(again[0])
    for path, name in zip(again[1:], names[1:], strict=True):
        assert (path.parent / fits.getval(path, "TCATFILE")).resolve() == folder / name
        with ImageModel(path) as model:
            assert model.meta.tweakreg_catalog == fits.getval(path, "TCATFILE")
    for row in step.solution.images:
        np.testing.assert_allclose(row.correction.shift, 0.0, atol=1e-3)


def test_groups_of_the_association_share_one_correction(field, tmp_path):
    content = json.loads(association(field).read_text())
    for member in content["products"][0]["members"]:
        member["group_id"] = member["expname"].rpartition("/")[2][:13]
        member["expname"] = str(field.truth.parent / member["expname"])
    asn = tmp_path / "asn.json"
    asn.write_text(json.dumps(content))
    step = align(asn, tmp_path / "out", abs_refcat=str(field.gaia))
    groups = {row.group_id for row in step.solution.images}
    assert len(groups) == 2
    assert {row.status for row in step.solution.images} == {ImageStatus.ALIGNED}


@pytest.mark.parametrize("what", ["missing", "cut", "no fits", "cube", "no wcs"])
def test_bad_input_is_one_clear_error_and_no_product(copies, tmp_path, what):
    path = copies[1]
    if what == "missing":
        path.unlink()
    if what == "cut":
        path.write_bytes(path.read_bytes()[:50_000])
    if what == "no fits":
        path.write_text("hello")
    if what == "cube":
        edit(path, lambda hdulist: hdulist["SCI"].__setattr__("data", np.zeros((2, 9, 9), "f4")))
    if what == "no wcs":
        with fits.open(path) as hdulist:
            del hdulist["ASDF"]
            hdulist.writeto(path, overwrite=True)
    with pytest.raises(InputError, match=path.name):
        align(copies, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*_tweakreg.fits"))


def test_a_missing_reference_catalog_is_refused_before_any_product(copies, tmp_path):
    with pytest.raises(InputError, match="nowhere.fits"):
        align(copies, tmp_path / "out", abs_refcat="nowhere.fits")
    assert not list((tmp_path / "out").glob("*.fits"))


def test_options_out_of_bounds_are_named(copies, tmp_path):
    for options, name in (
        ({"separation": 0.5}, "separation"),
        ({"catalog_format": "csv"}, "catalog_format"),
        ({"sip_degree": 9}, "sip_degree"),
        ({"brightest": 0}, "brightest"),
    ):
        with pytest.raises((OptionError, ValidationError), match=name):
            align(copies, tmp_path / "out", **options)


def test_an_input_is_never_replaced(aligned, tmp_path):
    folder, _ = aligned
    (product, *_) = sorted(folder.glob("*_tweakreg.fits"))
    with pytest.raises(InputError, match="input"):
        align([product], folder)


def test_the_solution_is_read_back_to_the_last_digit(aligned):
    folder, step = aligned
    again = read_solution(folder / "tweakreg_solution.ecsv")
    for row, other in zip(step.solution.images, again.images, strict=True):
        np.testing.assert_array_equal(other.correction.matrix, row.correction.matrix)
        np.testing.assert_array_equal(other.correction.shift, row.correction.shift)
        np.testing.assert_array_equal(other.cov, row.cov)
