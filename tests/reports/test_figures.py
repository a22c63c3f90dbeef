import numpy as np
import pytest
from PIL import Image

from webbalign.reports.figures import Curve, Mark, Panel, _norm, _ticks, draw_panels
from webbalign.reports.summary import Coron3Summary, ExposureRow


def panel(**changes):
    image = np.random.default_rng(0).normal(0, 1, (60, 50))
    image[3, 4] = np.nan
    return Panel("an image", image, (24.0, 30.0), 0.1, **changes)


def test_a_picture_with_all_panels_is_written(tmp_path):
    panels = [
        panel(starlight=True),
        panel(marks=[Mark((30.0, 35.0), "b")], compass=((0, 1), (-1, 0))),
    ]
    path = draw_panels(tmp_path / "x.png", panels, title="title", unit="MJy/sr")
    with Image.open(path) as picture:
        assert picture.size == (700, 450)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_an_image_without_any_value_can_be_drawn(tmp_path):
    empty = Panel("empty", np.full((20, 20), np.nan), (10.0, 10.0), 0.1)
    assert draw_panels(tmp_path / "x.png", [empty], title="", unit="").stat().st_size > 1000


def test_rows_and_a_diagram_after_the_last_panel(tmp_path):
    radius = np.linspace(0.1, 3, 10)
    curves = ("rms in rings", [Curve("before", radius, 10 / radius, "k-")])
    options = {"title": "two\nlines", "unit": "MJy/sr", "columns": 3, "dpi": 50}
    with_curves = draw_panels(tmp_path / "a.png", [panel()] * 5, curves=curves, **options)
    without = draw_panels(tmp_path / "b.png", [panel()] * 5, **options)
    with Image.open(with_curves) as a, Image.open(without) as b:
        assert a.size == b.size
        changed = np.asarray(a.convert("L")) != np.asarray(b.convert("L"))
    ny, nx = changed.shape
    lower_right = changed[ny // 2 :, 2 * nx // 3 - 10 :]
    assert lower_right.any()
    assert lower_right.sum() == changed.sum()


def test_the_colours_of_a_significance_reach_its_largest_value():
    image = panel(linear_to=5.0)
    for factor in (1, 10, 1000):
        shown = Panel("bright", factor * image.image, image.centre, 0.1, linear_to=5.0)
        norm = _norm([shown], shown)
        assert norm.vmax >= np.nanmax(np.abs(shown.image))
        assert norm.vmin == -norm.vmax
        ticks = _ticks(norm)
        assert max(ticks) <= norm.vmax
        # at 1000 those at 5 would be written over the one at 0
        assert (5.0 in ticks) == (factor < 1000)


@pytest.fixture
def summary():
    row = ExposureRow(
        "jw1", 4, 12, 0.25, 0.001, 0, np.array([100.0, 10.0]), np.array([1.0, np.nan])
    )
    return Coron3Summary(edges=(0.4, 0.7, 1.0), unit="MJy/sr", rows=[row])


def test_the_table_tells_shift_error_and_gain(summary, tmp_path):
    summary.files = [tmp_path / "a.fits", tmp_path / "b.fits"]
    text = summary.text
    assert "0.250 +- 0.001" in text
    assert "1e+02 -> 1" in text
    assert "10 -> -" in text
    assert 'rms 0.4-0.7"' in text
    assert f"2 files in {tmp_path}:" in text
    assert summary.n_unaligned == 0


def test_exposures_that_are_not_aligned_are_counted(summary):
    bad = ExposureRow("jw2", 4, 0, np.nan, np.nan, 3, np.zeros(2), np.zeros(2), "3 FITS FAILED")
    summary.rows.append(bad)
    assert summary.n_unaligned == 1
    assert "3 FITS FAILED" in summary.text
    assert "no files written" in summary.text
