"""Results in a notebook: tables in which text from files stays text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from webbalign.products.corrector import Correction
from webbalign.products.notebooks import MOST_ROWS, html_list, html_table
from webbalign.products.visit_corrections import AdjustStatus, VisitCorrection, WcsAdjust
from webbalign.products.visits import parse_key
from webbalign.reports.summary import Coron3Summary, ExposureRow

EVIL = "<script>alert(1)</script>"


class Cells(HTMLParser):
    """The texts of the cells, and the names of all tags."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"])), min_size=1, max_size=4))
def test_what_is_in_a_cell_is_what_is_shown(texts):
    found = Cells(html_table("a", texts, [texts]))
    assert found.cells == [*texts, *texts]
    assert found.tags == {"table", "caption", "thead", "tbody", "tr", "th"} | (
        {"td"} if len(texts) > 1 else set()
    )


def test_what_is_not_known_is_a_dash_and_long_tables_end():
    assert Cells(html_table("a", ["x"], [[None], [np.nan], [2.5], [3]])).cells[1:] == [
        "-", "-", "2.5", "3",
    ]  # fmt: skip
    text = html_table("a", ["x"], [[i] for i in range(MOST_ROWS + 7)])
    assert "7 more rows." in text
    assert text.count("<tr>") == MOST_ROWS + 1
    assert "<li>a&lt;b</li>" in html_list("files", ["a<b"])


def test_corrections_show_their_visits():
    key = parse_key("jw01234001001")
    shifts = Correction(np.eye(2), np.array([0.125, -0.25]))
    entries = (
        VisitCorrection(key, shifts, cov=np.diag([0, 0, 0, 0, 4e-6, 9e-6]),
                        status=AdjustStatus.ALIGNED, bands=("F300M",), n_images=4),
        VisitCorrection(parse_key("jw01234002001"), shifts, status=AdjustStatus.FAILED,
                        reason=EVIL),
    )  # fmt: skip
    text = WcsAdjust(entries, {"target": EVIL})._repr_html_()
    found = Cells(text)
    assert "1 of 2 visits aligned" in text
    assert "script" not in found.tags
    assert found.cells[10:18] == ["jw01234001001", "ALIGNED", "F300M", "4", "0.125", "-0.25", "2",
                                  "3"]  # fmt: skip
    # what is not applied has no shift
    assert found.cells[20:26] == ["jw01234002001", "FAILED", "-", "-", "-", "-"]
    assert EVIL in found.cells


def test_a_run_of_coron3_shows_its_exposures():
    rms = np.array([10.0]), np.array([2.0])
    row = ExposureRow(EVIL, 5, 17, 0.25, 0.01, 0, *rms)
    summary = Coron3Summary((0.4, 1.0), "MJy/sr", [row], files=[Path("a/x_i2d.fits")])
    found = Cells(summary._repr_html_())
    assert "script" not in found.tags
    assert found.cells[:3] == ["exposure", "ints", "outliers"]
    assert found.cells[6:11] == [EVIL, "5", "17", "0.250 +- 0.01", "ALIGNED"]
    from webbalign.pipelines.coron3 import Coron3Result

    result = Coron3Result(None, None, summary.files, summary, 0)
    assert result._repr_html_() == summary._repr_html_()


def test_a_solution_shows_its_images():
    from webbalign.core.astrometry import ImageStatus
    from webbalign.products.solved_images import Solution

    def row(name, status, shift):
        return SimpleNamespace(
            filename=name, status=status, n_matched=9, n_used=8, rms=0.002, group_id="1",
            correction=SimpleNamespace(shift=np.array(shift), matrix=np.eye(2)), reason="",
            chi2_reduced=np.nan, is_applied=status == ImageStatus.ALIGNED, n_found=12,
            cov=np.full((6, 6), np.nan),
        )  # fmt: skip

    images = (row(EVIL, ImageStatus.ALIGNED, (0.5, 1.5)), row("b", ImageStatus.FAILED, (0, 0)))
    solution = Solution(images)
    found = Cells(solution._repr_html_())
    assert "script" not in found.tags
    assert found.cells[9:17] == [EVIL, "ALIGNED", "9", "8", "2", "0.5", "1.5", "-"]
    assert found.cells[18:25] == ["b", "FAILED", "9", "8", "2", "-", "-"]
    assert [entry["filename"] for entry in solution.notes] == [EVIL, "b"]
