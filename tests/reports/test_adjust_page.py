"""The report of the corrections of a target: tables, pictures, what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table as AstropyTable

from tests.core.skynetwork import sky
from tests.core.starsolutions import SMALL
from tests.reports.test_adjust_figure import pair, visits
from webbalign.core.astrometry import align_starlists
from webbalign.core.errors import InputError
from webbalign.products.corrector import Correction
from webbalign.products.groups import ObservationIds
from webbalign.products.image_files import ImageInfo
from webbalign.products.solutions import Solution, solved, write_solution
from webbalign.products.solved_stars import solved_stars
from webbalign.products.visit_corrections import AdjustStatus, VisitCorrection
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import WcsAdjust, read_wcs_adjust, write_wcs_adjust
from webbalign.reports.adjust_page import (
    AdjustProducts,
    adjust_page,
    find_adjustments,
    report_adjust,
)


def with_exposures(table):
    """A table with two exposures of its second visit."""
    visit = table.entries[1]
    exposures = [
        replace(
            visit,
            key=parse_key(f"{visit.key}_02101_0000{number}"),
            correction=Correction(np.eye(2), visit.correction.shift + 0.002 * (-1) ** number),
        )
        for number in (1, 2)
    ]
    return WcsAdjust((*table.entries, *exposures), table.run)


def products(tmp_path, table, pairs=()):
    return AdjustProducts(tmp_path / "m51_wcs_adjust.toml", table, pairs, {})


def write(tmp_path, table):
    return write_wcs_adjust(table, tmp_path / "m51_wcs_adjust.toml")


def section(page, name):
    (found,) = (section for section in page.sections if section.name == name)
    return found


def test_tables_and_pictures(tmp_path):
    run = {"bands": {"F300M": {"method": "cross_corr"}}}
    table = with_exposures(visits(3))
    table = WcsAdjust(table.entries, table.run | run)
    write(tmp_path, table)
    known = replace(pair(1, 2), left=(0.001, 0.0), error=0.0005, closure=0.001)
    page = adjust_page(products(tmp_path, table, (known, pair(1, 3, "NO_SIGNAL", False))), tmp_path)
    assert page.warnings == []
    assert page.title == "wcs adjust: m51"
    of_visits, of_exposures = section(page, "visits").items
    assert [row[1] for row in of_visits.rows] == ["REFERENCE", "ALIGNED", "ALIGNED"]
    assert len(of_exposures.rows) == 2
    assert "reason" not in of_visits.head
    names = [plot.name for plot in section(page, "sky").items]
    assert names == ["visits", "footprints", "shifts", "jitter"]
    plot, pairs = section(page, "pairs").items
    assert "in 1 pair of visits: median 1 mas" in plot.alt
    assert [row[1] for row in pairs.rows] == ["used", "NO_SIGNAL"]


def test_what_went_wrong_is_said_in_words(tmp_path):
    table = visits(3)
    first, second, third = table.entries
    bad = (
        replace(first, frame="a"),
        replace(second, frame="b", status=AdjustStatus.INCONSISTENT, reason="bands disagree"),
        replace(third, status=AdjustStatus.FAILED, reason="no good pixel"),
    )
    run = table.run | {"bands": {"F300M": {"method": "tweakreg"}}}
    write(tmp_path, table)
    wrong = [pair(1, 2, used=False)] * 7
    page = adjust_page(products(tmp_path, WcsAdjust(bad, run), tuple(wrong)), tmp_path)
    said = " ".join(page.warnings)
    for words in (
        "INCONSISTENT: bands disagree", "FAILED: no good pixel", "2 frames that nothing connects",
        "2 more pairs of visits", "F300M: the table of its stars is not in get_wcs_adjust",
    ):  # fmt: skip
        assert words in said
    assert said.count("were compared wrongly: left out") == 5


def test_a_table_of_pjpipe_has_a_page(tmp_path):
    entry = VisitCorrection(parse_key("jw02107041001"), Correction(np.eye(2), np.array([0.1, 0.2])))
    table = WcsAdjust((entry,))
    write(tmp_path, table)
    page, *_ = report_adjust(products(tmp_path, table))
    assert page == tmp_path / "m51_wcs_adjust_report.html"
    text = page.read_text()
    assert "The table does not say how it was measured" in text
    assert "+0.1000, +0.2000" in text


@pytest.fixture(scope="module")
def solution():
    """Stars of six images, two of each exposure."""
    field = sky(3, **SMALL)
    fitted = align_starlists(field.lists, field.reference(0.001, share=0.4))
    shapes = [(2048, 2048)] * len(field.lists)
    infos = [
        ImageInfo(stars.name, None, shapes[0], None, {}, 2024.0,
                  ObservationIds("02107", "041", "001"), filter="F300M")
        for stars in field.lists
    ]  # fmt: skip
    rows = solved(fitted.images, field.lists, infos)
    return Solution(tuple(rows), {}, solved_stars(fitted, field.lists, shapes, None, None))


def test_stars_of_the_bands_are_found_beside_the_table(tmp_path, solution):
    table = visits(2)
    run = {"bands": {"F300M": {"method": "tweakreg"}, "F770W": {"method": "combined"}}}
    path = write(tmp_path, WcsAdjust(table.entries, table.run | run))
    write_solution(solution, tmp_path / "get_wcs_adjust" / "F300M_tweakreg_solution.ecsv")
    (found,) = find_adjustments(tmp_path)
    assert list(found.bands) == ["F300M"]
    assert len(found.adjust.entries) == len(read_wcs_adjust(path).entries)
    page = adjust_page(found, tmp_path)
    band = section(page, "band_F300M")
    assert "are not here" in band.text
    gallery = band.items[-1]
    assert len(gallery.plots) == len(solution.images)
    assert all(plot.name.startswith("F300M_image_") for plot in gallery.plots)
    assert any("F770W: the table of its stars" in text for text in page.warnings)
    names = [item.rows[0][0].text for item in section(page, "files").items]
    assert names == ["m51_wcs_adjust.toml"]


def test_pairs_are_read_with_their_errors(tmp_path):
    run = {"bands": {"F770W": {"method": "cross_corr"}}}
    path = write(tmp_path, WcsAdjust(visits(2).entries, run))
    rows = AstropyTable(
        {
            "first": ["jw1"], "second": ["jw2"], "status": ["OK"], "used": [True],
            "closure": np.array([[0.3, 0.4]]), "shift_cov": [[[4.0, 0.0], [0.0, 6.0]]],
        }
    )  # fmt: skip
    (tmp_path / "get_wcs_adjust").mkdir()
    rows.write(tmp_path / "get_wcs_adjust" / "F770W_cross_corr_pairs.ecsv")
    ((one,),) = (found.pairs for found in find_adjustments(path))
    assert one.left == (0.3, 0.4)
    assert one.closure == pytest.approx(0.5)
    assert one.error == pytest.approx(np.sqrt(5.0))


def test_what_is_no_table(tmp_path):
    assert find_adjustments(tmp_path) == []
    assert find_adjustments(tmp_path / "x.fits") == []
    with pytest.raises(InputError, match="no such file"):
        find_adjustments(tmp_path / "x_wcs_adjust.toml")
