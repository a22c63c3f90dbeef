"""The page of the stars that were found, from catalogs alone."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from webbalign.reports.star_page import (
    STARS_PAGE,
    StarProducts,
    find_star_catalogs,
    report_stars,
    stars_page,
)


def catalog(folder, number, count):
    rng = np.random.default_rng(number)
    name = f"jw01234001001_02101_0000{number}_nrcalong"
    table = Table(
        {
            "xcentroid": rng.uniform(0, 60, count),
            "ycentroid": rng.uniform(0, 40, count),
            "flux": rng.uniform(1, 100, count),
            "x_err": np.full(count, 0.004),
            "y_err": np.full(count, 0.004),
        },
        meta={"image": f"{name}_cal.fits"},
    )
    path = folder / f"{name}_cat.ecsv"
    table.write(path)
    return path


@pytest.fixture
def products(tmp_path):
    paths = [catalog(tmp_path, 1, 12), catalog(tmp_path, 2, 3)]
    sky = tmp_path / "sky" / "F300M"
    sky.mkdir(parents=True)
    science = fits.ImageHDU(np.ones((40, 60), np.float32), name="SCI")
    flags = fits.ImageHDU(np.zeros((40, 60), np.int32), name="DQ")
    name = paths[0].name.replace("_cat.ecsv", "_cal.fits")
    fits.HDUList([fits.PrimaryHDU(), science, flags]).writeto(sky / name)
    return StarProducts.of(paths, [tmp_path / "sky"])


def test_it_counts_what_the_catalogs_hold_and_names_what_is_short(products, tmp_path):
    page = stars_page(products, tmp_path)
    assert page.subtitle == "15 stars in 2 images"
    ((table,), (gallery,), _) = (section.items for section in page.sections)
    assert [row[:2] for row in table.rows] == [
        ["jw01234001001_02101_00001_nrcalong", "12"],
        ["jw01234001001_02101_00002_nrcalong", "3"],
    ]
    assert {row[4] for row in table.rows} == {"4"}
    few, missing = page.warnings
    assert "00002_nrcalong_cal.fits (3)" in few
    assert "pixels of 1 images" in missing
    drawn = [len(plot.figure.axes[0].images) for plot in gallery.plots]
    assert drawn == [1, 0]
    circles = [sum(len(c.get_offsets()) for c in p.figure.axes[0].collections)
               for p in gallery.plots]  # fmt: skip
    assert circles == [12, 3]


def test_it_is_found_again_and_written_beside_the_catalogs(products, tmp_path):
    ((again),) = find_star_catalogs(tmp_path, [tmp_path / "sky"])
    assert again.paths == products.paths
    page, *figures = report_stars(again)
    assert page == tmp_path / STARS_PAGE
    assert len(figures) == 4
    assert find_star_catalogs(tmp_path / "sky") == []


def test_an_image_without_a_star_is_shown(tmp_path):
    empty = StarProducts.of([catalog(tmp_path, 3, 0)])
    page, *_ = report_stars(empty)
    assert "(0)" in page.read_text()
