"""The report of an alignment: what it tells of a small simulated one, and of what is missing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table as AstropyTable

from webbalign.core.astrometry import ImageStatus
from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.products.alignment_products import alignment_products, find_alignments
from webbalign.products.image_files import read_info
from webbalign.products.solutions import read_solution, write_solution
from webbalign.products.star_pixels import find_images, read_stamps, read_thumbnail
from webbalign.reports.alignment_page import alignment_page, alignment_warnings, report_alignment
from webbalign.reports.alignment_plots import moved_groups, plot_jitter
from webbalign.reports.canvas import short_names
from webbalign.reports.image_plots import image_gallery
from webbalign.reports.page import Gallery
from webbalign.reports.star_stacks import plot_stacks
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.steps import TweakRegStep

SIZE = 300


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    options = MosaicSimulation(
        bands=("F300M",), dithers=2, size=SIZE, star_density=2500.0, magnitudes=(16.0, 22.5),
        gaia_limit=23.0, galaxies=0.0, seed=5,
    )  # fmt: skip
    return simulate_mosaic(tmp_path_factory.mktemp("field"), options)


@pytest.fixture(scope="module")
def folder(field, tmp_path_factory):
    path = tmp_path_factory.mktemp("aligned")
    (association,) = field.associations.values()
    step = TweakRegStep.create(
        str(association), output_dir=str(path), save_results=True, abs_refcat=str(field.gaia)
    )
    step.run(str(association))
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def products(folder):
    (found,) = find_alignments(folder)
    return found


def items(page, name):
    (section,) = (section for section in page.sections if section.name == name)
    return section.items


def test_what_belongs_together_is_found(field, folder, products):
    names = {path.name for path in field.all_files}
    assert set(products.images) == names == set(products.outlines)
    assert all(path.parent == folder for path in products.images.values())
    assert products.lacking == ""
    assert len(products.stars.stars) == sum(row.n_found for row in products.solution.images)


def test_the_page_tells_all_that_the_products_hold(products, folder):
    page = alignment_page(products, folder)
    assert page.warnings == []
    names = [section.name for section in page.sections]
    assert names == ["images", "sky", "agreement", "catalog", "residuals", "files"]
    (table,) = items(page, "images")
    for cells, row in zip(table.rows, products.solution.images, strict=True):
        assert cells[1:5] == ["ALIGNED", str(row.n_found), str(row.n_matched), str(row.n_used)]
        assert float(cells[5]) == pytest.approx(1e3 * row.rms, abs=0.006)
    assert [item.name for item in items(page, "sky")] == ["footprints", "shifts", "jitter"]
    agreement = items(page, "agreement")
    assert [item.title for item in agreement] == [
        "Stars before and after", "Closure of the network", "Pairs of groups that differ most"
    ]  # fmt: skip
    assert len(agreement[2].rows) == len(products.solution.meta["closures"]) == 6
    plot, catalog = items(page, "catalog")
    assert f"{len(products.stars.catalog)} stars" in plot.alt
    used = [row[-1] for row in catalog.rows].count("yes")
    assert 0 < used <= products.stars.catalog.used.sum()
    (gallery,) = items(page, "residuals")
    assert isinstance(gallery, Gallery)
    assert len(gallery.plots) == 4
    assert f"{products.solution.images[0].n_used} stars used" in gallery.plots[0].alt


def test_the_page_is_written_with_its_figures(products, tmp_path):
    page, *figures = report_alignment(products, tmp_path)
    assert page == tmp_path / "tweakreg_report.html"
    assert page.stat().st_size < 10e6
    text = page.read_text()
    assert text.count("<img ") == len(figures) / 2 >= 10
    assert text.count('alt=""') == 0
    assert {path.suffix for path in figures} == {".png", ".pdf"}


def test_the_moves_are_those_of_the_pixels(field, products):
    """In the middle of an image: where its WCS puts it after less before."""
    for moved in moved_groups(products):
        row = next(row for row in products.solution.images if row.group_id == moved.name)
        sky = []
        for path in (products.images[row.filename], field.truth.parent / row.filename):
            info = read_info(path)
            middle = np.array(info.shape[::-1]) / 2 - 0.5
            sky.append(np.array(info.wcs(*middle, with_bounding_box=False)))
        plane = TangentPlane.about(*sky[1])
        move = plane.from_sky(sky[0][None])[0]
        # (the reference point lies elsewhere, and the roll is small)
        np.testing.assert_allclose(moved.shift, move, rtol=0, atol=2e-3)
        assert 0 < moved.error < 0.01


def test_the_jitter_is_about_the_mean_of_the_visit(products):
    groups = moved_groups(products)
    assert len({group.visit for group in groups}) == 2
    assert plot_jitter(groups) is not None
    assert plot_jitter(groups[:1]) is None


# What is missing, or bad --------------------------------------------------------------------------


def test_without_the_stars_the_table_is_shown(copy):
    (copy / "tweakreg_solution.asdf").unlink()
    (found,) = find_alignments(copy)
    page = alignment_page(found, copy)
    assert [section.name for section in page.sections] == ["images", "sky", "files"]
    (warning,) = page.warnings
    assert "tweakreg_solution.asdf is not here" in warning
    assert [item.name for item in items(page, "sky")] == ["shifts", "jitter"]


def test_stars_of_another_solution_are_left_out(copy):
    table = copy / "tweakreg_solution.ecsv"
    rows = AstropyTable.read(table)
    rows["xshift"][1] += 0.01
    rows.write(table, overwrite=True)
    found = alignment_products(table)
    assert found.stars is None
    assert "is of another solution" in found.lacking
    (copy / "tweakreg_solution.asdf").write_text("broken")
    assert "not readable" in alignment_products(table).lacking


def test_without_pixels_the_stars_are_shown(copy, field):
    for path in copy.glob("*_tweakreg.fits"):
        path.unlink()
    (found,) = find_alignments(copy)
    page = alignment_page(found, copy)
    assert page.warnings == []
    (section,) = (s for s in page.sections if s.name == "residuals")
    assert "The pixels of 4 of 4 images are not here" in section.text
    assert len(section.items[0].plots) == 4
    assert plot_stacks(found) is None
    (found,) = find_alignments(copy, [field.truth.parent])
    assert len(found.images) == 4
    assert plot_stacks(found) is not None


def test_images_without_a_table_tell_what_they_can(copy, products):
    """As those of jwst."""
    for path in copy.glob("tweakreg_solution.*"):
        path.unlink()
    (found,) = find_alignments(copy)
    page = alignment_page(found, copy)
    assert "there is no tweakreg_solution.ecsv" in page.warnings[0]
    assert [section.name for section in page.sections] == ["images", "sky", "files"]
    for row, known in zip(found.solution.images, products.solution.images, strict=True):
        assert row.status is ImageStatus.ALIGNED
        np.testing.assert_allclose(row.correction.shift, known.correction.shift, atol=1e-9)
        np.testing.assert_allclose(
            found.outlines[row.filename], products.outlines[known.filename], atol=1e-6
        )


def test_what_went_wrong_is_said_in_words(products):
    first, second, third, fourth = products.solution.images
    rows = (
        replace(first, status=ImageStatus.FAILED, reason="too few pixels are valid"),
        replace(second, n_used=4, n_matched=4),
        replace(third, n_matched=60, n_used=30),
        replace(fourth, chi2_reduced=9.0),
    )
    meta = products.solution.meta | {
        "components": [["a", "b"], ["c", "d"]],
        "absolute": [{"tied": False, "reason": "no star in the field", "n_used": 0}],
        "closures": [{"first": "a", "second": "b", "n": 3, "dx_mas": 5.0, "dy_mas": 0.0,
                      "error_mas": 0.1}],
    }  # fmt: skip
    solution = replace(products.solution, images=rows, meta=meta)
    found = " ".join(alignment_warnings(replace(products, solution=solution), "F300M: "))
    assert found.count("F300M: ") == 7
    for words in (
        "FAILED: too few pixels", "1 image aligned by fewer than 6 stars", "up to 30 of 60",
        "chi-square up to 9.0", "a and b (5 mas)", "2 parts", "not used: no star in the field",
    ):  # fmt: skip
        assert words in found


def test_of_many_images_the_worst_are_shown(products):
    rows = list(products.solution.images)
    rows[2] = replace(rows[2], status=ImageStatus.UNCHANGED)
    rows[3] = replace(rows[3], rms=1.0)
    found = image_gallery(replace(products, solution=replace(products.solution, images=rows)), 2)
    names = [plot.name for plot in found.plots]
    assert [name.split("_")[1] for name in names] == [
        row.filename.split("_")[0] for row in rows[2:]
    ]
    assert "Of 4 images" in found.good


def test_markup_in_names_is_text(copy):
    solution = read_solution(copy / "tweakreg_solution.ecsv")
    rows = [replace(row, reason="<script>alert(1)</script>") for row in solution.images]
    write_solution(replace(solution, images=tuple(rows)), copy / "tweakreg_solution.ecsv")
    (copy / "tweakreg_solution.asdf").unlink()  # (fewer figures)
    page, *_ = report_alignment(alignment_products(copy / "tweakreg_solution.ecsv"))
    assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;alert" in page.read_text()


def test_a_folder_with_nothing_has_no_alignment(tmp_path):
    assert find_alignments(tmp_path) == []
    with pytest.raises(InputError, match="no such file"):
        find_alignments(tmp_path / "tweakreg_solution.ecsv")


# Pixels -------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    data = np.arange(60.0 * 90, dtype=np.float32).reshape(60, 90)
    data[7, 11] = np.nan
    path = tmp_path / "x_cal.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(path)
    return path, data


def test_a_thumbnail_is_the_mean_of_blocks(image):
    path, data = image
    small, step = read_thumbnail(path, 30)
    assert (step, small.shape) == (3, (20, 30))
    blocks = data.reshape(20, 3, 30, 3)
    np.testing.assert_allclose(small, np.nanmean(blocks, axis=(1, 3)), rtol=1e-6)
    small, step = read_thumbnail(path, 40)  # what is left over is cut off
    assert (step, small.shape) == (3, (20, 30))
    whole, step = read_thumbnail(path, 100)
    np.testing.assert_array_equal(whole, data)


def test_stamps_are_cut_about_the_nearest_pixel(image):
    path, data = image
    inside, edge, outside = read_stamps(path, np.array([[20.4, 30.6], [0.0, 59.0], [500, 5]]), 2)
    np.testing.assert_array_equal(inside, data[29:34, 18:23])
    np.testing.assert_array_equal(edge[:3, 2:], data[57:60, 0:3])
    assert np.isnan(edge[3:]).all()
    assert np.isnan(edge[:, :2]).all()
    assert np.isnan(outside).all()


def test_files_that_are_no_images_are_named(tmp_path):
    path = tmp_path / "x_cal.fits"
    with pytest.raises(InputError, match="x_cal"):
        read_thumbnail(path)
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    with pytest.raises(InputError, match="no 2-D SCI"):
        read_stamps(path, np.zeros((1, 2)), 3)


def test_images_are_found_beside_and_below(tmp_path):
    for name in ("a_tweakreg.fits", "a_cal.fits", "F1/b_cal.fits", "c_cat.fits", "d_i2d.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path], [f"{letter}_cal.fits" for letter in "abcd"])
    assert {name: path.name for name, path in found.items()} == {
        "a_cal.fits": "a_tweakreg.fits", "b_cal.fits": "b_cal.fits"
    }  # fmt: skip
    assert find_images([tmp_path / "a_cal.fits"], ["a_cal.fits"]) == {
        "a_cal.fits": tmp_path / "a_cal.fits"
    }


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["jw09998001001_02101_1", "jw09998001002_02101_1"], ["001001", "001002"]),
        (["jw01345001001_1", "jw02345001001_2"], ["jw01345001001_1", "jw02345001001_2"]),
        (["one"], ["one"]),
        (["a_b", "c"], ["a_b", "c"]),
    ],
)
def test_names_are_shortened_to_what_differs(names, short):
    assert short_names(names) == short
