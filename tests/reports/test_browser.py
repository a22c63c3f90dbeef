"""The page in a real browser: it opens from disk, is usable by mouse and keyboard, fits a phone."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from webbalign.cli import main
from webbalign.reports.axes import new_figure
from webbalign.reports.page import (
    Comparison,
    Gallery,
    Link,
    Page,
    Plot,
    Section,
    Table,
    write_page,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'browser'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]

EVIL = "<script>document.title = 'taken'; fetch('http://localhost:9/')</script>"
LONG = "jw01234567890_03107_00001_nrcalong_a3001_crfints_" * 2
WIDE, PHONE = {"width": 1200, "height": 800}, {"width": 360, "height": 740}


def square(value: int) -> bytes:
    """Return a PNG of one grey."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((24, 24), value, np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    figure, ((axis,),) = new_figure(8, 3)
    axis.semilogy([1, 2, 30])
    views = [("before", "starlight", 20), ("PSF model", "model", 120), ("after", "rest", 220)]
    items = [
        Plot("line", EVIL, figure, f"Good: {EVIL} {LONG}", "a line"),
        Comparison("views", LONG, [(n, alt, square(v)) for n, alt, v in views], "Good: dark."),
        Gallery(EVIL, EVIL, [Plot(f"image_{i}", LONG, figure, "", EVIL) for i in range(2)]),
        Table(LONG, ["file", *"abcdefgh"], [[Link(LONG, "a.fits"), *["1234.5678"] * 8]], EVIL),
    ]
    page = Page(f"coron3: {EVIL}", EVIL, [EVIL, LONG], [Section("one", EVIL, EVIL, items)])
    folder = tmp_path_factory.mktemp("report")
    return write_page(page, folder / "x_report.html", papers=False)[0]


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, report):
    """Open the page; what it says on the console and asks for is recorded and must be nothing."""
    said: list[str] = []
    pages = []
    files = set()

    def open_page(viewport, path=report, **options):
        page = chromium.new_page(viewport=viewport, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri())
        pages.append(page)
        files.add(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert set(said) == files


def visible(page) -> list[str]:
    """Return the views that are seen, whole or in part."""
    images = page.locator(".stack img")
    shown = [images.nth(i) for i in range(images.count())]
    return [
        image.get_attribute("data-name")
        for image in shown
        if image.evaluate("e => getComputedStyle(e).visibility") == "visible"
    ]


def test_what_comes_from_files_is_text(opened):
    page = opened(WIDE)
    assert page.title() == f"coron3: {EVIL}"
    assert page.locator("h1").inner_text() == f"coron3: {EVIL}"
    assert page.locator("script").count() == 1
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 6
    assert min(widths) > 0


def test_views_and_blink_by_mouse(opened):
    page = opened(WIDE)
    assert visible(page) == ["after"]
    page.get_by_role("button", name="PSF model").click()
    assert visible(page) == ["PSF model"]
    assert page.get_by_role("button", name="PSF model").get_attribute("aria-pressed") == "true"
    blink = page.get_by_role("button", name="blink")
    blink.click()
    seen = set()
    for _ in range(40):
        seen.update(visible(page))
        if seen >= {"before", "after"}:
            break
        page.wait_for_timeout(100)
    assert seen >= {"before", "after"}
    blink.click()
    resting = visible(page)
    page.wait_for_timeout(900)
    assert visible(page) == resting


def test_views_blink_and_slider_by_keyboard(opened):
    page = opened(WIDE)
    page.get_by_role("button", name="before", exact=True).focus()
    page.keyboard.press("Enter")
    assert visible(page) == ["before"]
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    blink = page.get_by_role("button", name="blink")
    assert blink.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert blink.get_attribute("aria-pressed") == "false"
    assert visible(page) == ["before", "after"]
    assert share_shown(page) == 30
    page.keyboard.press("End")
    assert share_shown(page) == 100


def test_the_slider_by_mouse(opened):
    page = opened(WIDE)
    slider = page.locator(".slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(*middle)
    assert visible(page) == ["before", "after"]
    assert share_shown(page) == pytest.approx(50, abs=5)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], middle[1])
    page.mouse.up()
    assert share_shown(page) > 70
    # what is seen: left of the edge the last view, right of it the first
    greys = page.evaluate(
        """() => { const box = document.querySelector('.stack').getBoundingClientRect();
        return [0.1, 0.95].map(f => document.elementFromPoint(box.x + f * box.width,
        box.y + box.height / 2).dataset.name); }"""
    )
    assert greys == ["after", "before"]


def share_shown(page) -> float:
    """Return how much of the last view the slider shows, percent."""
    clip = page.locator(".stack img").last.evaluate("e => e.style.clipPath")
    right = re.fullmatch(
        r"inset\(0(?:px|%)? ([\d.]+)(?:%|px) 0(?:px|%)? 0(?:px|%)?\)|inset\(0px\)", clip
    )
    assert right, clip
    return 100 - float(right.group(1) or 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(opened, scheme):
    page = opened(PHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    back, text = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("backgroundColor", "color")
    )
    assert contrast(back, text) > 7  # WCAG AAA
    soft = page.evaluate("getComputedStyle(document.querySelector('figcaption')).color")
    assert contrast(back, soft) > 4.5  # WCAG AA
    assert (luminance(back) < luminance(text)) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    values = np.array([int(number) for number in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """The pages of a small mosaic of real commands: its stars, and its alignment with Gaia."""
    folder = tmp_path_factory.mktemp("aligned")
    words = "--bands F300M --dithers 2 --size 300 --star-density 2500 --magnitudes 16,22 --quiet"
    assert main(["simulate", "mosaic", str(folder / "sky"), *words.split()]) == 0
    images = sorted(map(str, (folder / "sky").glob("*_cal.fits")))
    words = ["--executor", "serial", "--quiet", "--output-dir", str(folder)]
    assert main(["find-stars", *images, *words]) == 0
    catalog = ["--abs-refcat", str(folder / "sky" / "gaia.ecsv")]
    assert main(["tweakreg", *images, *words, *catalog]) in (0, 3)
    return folder


@pytest.mark.parametrize(("command", "least"), [("find_stars", 4), ("tweakreg", 8)])
def test_pages_of_real_runs(opened, aligned, command, least):
    page = opened(WIDE, aligned / f"{command}_report.html")
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= least
    assert min(widths) > 0
    assert all(text.strip() for text in page.evaluate("[...document.images].map(i => i.alt)"))
    assert page.locator("th").count() > 3
    broken = page.evaluate("""[...document.querySelectorAll('a[href]')]
        .filter(a => a.getAttribute('href').startsWith('#')
                     && !document.querySelector(a.getAttribute('href'))).length""")
    assert broken == 0
    names = page.evaluate("""[...document.querySelectorAll('a[href]')]
        .map(a => a.getAttribute('href')).filter(h => !h.startsWith('#'))""")
    assert names
    assert all((aligned / name).is_file() for name in names)
    phone = opened(PHONE, aligned / f"{command}_report.html")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_scripts_all_views_are_seen(chromium, report):
    page = chromium.new_page(viewport=WIDE, java_script_enabled=False)
    page.goto(report.as_uri())
    boxes = [page.locator(".stack img").nth(i).bounding_box() for i in range(3)]
    assert all(box["height"] > 20 for box in boxes)
    assert len({box["y"] for box in boxes}) == 3
    page.close()
