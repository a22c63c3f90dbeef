"""The page by itself: whole, safe, without a network, the same each time."""

from __future__ import annotations

import os
from html.parser import HTMLParser

import pytest

from webbalign.products.atomic import PARTIAL
from webbalign.reports.coron3_plots import new_figure
from webbalign.reports.page import Comparison, Link, Page, Plot, Section, Table, write_page

EVIL = "<script>alert('AU Mic')</script>"


class Elements(HTMLParser):
    """All tags with their attributes, and the text outside script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self._code = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._code = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._code = False

    def handle_data(self, data):
        if not self._code:
            self.text += data


def plot() -> Plot:
    figure, ((axis,),) = new_figure(2, 2)
    axis.plot([1, 2])
    return Plot("line", EVIL, figure, f"Good: {EVIL}", f'a "line" {EVIL}')


@pytest.fixture
def page() -> Page:
    items = [
        plot(),
        Table(EVIL, ["name", EVIL], [[EVIL, Link(EVIL, "a.fits")]], EVIL),
        Comparison("views", EVIL, [(EVIL, EVIL, b"png"), ("after", "what is left", b"png")], EVIL),
    ]
    return Page(EVIL, EVIL, [EVIL], [Section("one", EVIL, EVIL, items)])


def test_what_comes_from_files_is_text(page, tmp_path):
    (path, *_) = write_page(page, tmp_path / "x_report.html")
    found = Elements(path.read_text())
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert found.text.count(EVIL) >= 12


def test_it_needs_nothing_but_itself(page, tmp_path):
    (path, *_) = write_page(page, tmp_path / "x_report.html")
    found = Elements(path.read_text())
    addresses = [a[k] for _, a in found.tags for k in ("src", "href") if k in a]
    assert addresses
    assert {a for a in addresses if not a.startswith(("data:", "#"))} == {"a.fits"}
    assert "http" not in path.read_text().replace("http-equiv", "")


def test_images_have_words_and_tables_have_headers(page, tmp_path):
    (path, *_) = write_page(page, tmp_path / "x_report.html")
    found = Elements(path.read_text())
    images = [a for tag, a in found.tags if tag == "img"]
    assert len(images) == 3
    assert all(a["alt"] for a in images)
    assert [a["scope"] for tag, a in found.tags if tag == "th"] == ["col", "col", "row"]
    assert ("caption", {}) in found.tags
    assert ("html", {"lang": "en"}) in found.tags


def test_warnings_stand_at_the_top_or_it_says_that_there_are_none(page, tmp_path):
    (path, *_) = write_page(page, tmp_path / "x_report.html")
    text = Elements(path.read_text()).text
    assert "Look at this first" in text
    assert "No warnings" not in text
    calm = Page("a", "b", [], page.sections)
    (path, *_) = write_page(calm, tmp_path / "y_report.html")
    assert "No warnings" in Elements(path.read_text()).text


def test_figures_for_papers_lie_beside_it(page, tmp_path):
    path, png, pdf = write_page(page, tmp_path / "x_report.html")
    assert (png, pdf) == tuple(tmp_path / "x_report_figures" / f"line.{s}" for s in ("png", "pdf"))
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert write_page(page, tmp_path / "z.html", papers=False) == [tmp_path / "z.html"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x_report.html",
        "x_report_figures",
        "z.html",
    ]


def test_the_same_page_is_the_same_file(tmp_path):
    def write(name):
        page = Page("a", "b", [], [Section("one", "One", items=[plot()])])
        return [path.read_bytes() for path in write_page(page, tmp_path / name / "x_report.html")]

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert write("one") == write("two")


def test_what_a_killed_run_left_among_the_figures_is_gone(page, tmp_path):
    left = tmp_path / "x_report_figures" / PARTIAL / "00000000-1-00000000" / "line.pdf"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))
    write_page(page, tmp_path / "x_report.html")
    assert {path.name for path in (tmp_path / "x_report_figures").iterdir()} == {
        "line.png",
        "line.pdf",
    }
