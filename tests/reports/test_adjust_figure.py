"""The picture of a table of corrections, and the pairs that it shows."""

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.products.corrector import Correction
from webbalign.products.visit_pairs import VisitPair, read_visit_pairs
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection, WcsAdjust
from webbalign.reports.adjust_figure import draw_adjust

PLANE = TangentPlane.about(150.1, 2.2)
SQUARE = 30.0 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
RED, GREEN = (178, 24, 43), (27, 120, 55)


def visits(count, step=50.0, **changes):
    """Visits in a row, the first one the reference."""
    entries, footprints = [], {}
    for number in range(count):
        key = f"jw02107041{number + 1:03d}"
        at = np.array([number * step, 0.0])
        footprints[key] = [PLANE.to_sky(at + SQUARE).tolist()]
        status = AdjustStatus.ALIGNED if number else AdjustStatus.REFERENCE
        cov = np.diag([0.0] * 4 + [1e-6, 4e-6]) if number else np.zeros((6, 6))
        given = {
            "correction": Correction(np.eye(2), np.array([0.3, -0.2]) * bool(number)),
            "reference": tuple(PLANE.to_sky(at[None])[0]), "cov": cov, "status": status,
        }  # fmt: skip
        entries.append(VisitCorrection(parse_key(key), **(given | changes if number else given)))
    return WcsAdjust(tuple(entries), {"target": "m51", "footprints": footprints})


def pixels_of(path, color):
    """Count the pixels of a colour."""
    with Image.open(path) as picture:
        return int((np.abs(np.asarray(picture.convert("RGB"), int) - color).sum(-1) < 12).sum())


def pair(first, second, status="OK", used=True):
    return VisitPair(f"jw02107041{first:03d}", f"jw02107041{second:03d}", status, used)


@pytest.mark.parametrize("count", [1, 2, 4, 30])
def test_any_number_of_visits_is_drawn(tmp_path, count):
    path = draw_adjust(visits(count), tmp_path / "a.png", [pair(1, 2)] if count > 1 else ())
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]
    assert (pixels_of(path, GREEN) > 100) is (count > 1)
    assert pixels_of(path, RED) == 0


def test_a_wrong_pair_is_marked(tmp_path):
    path = draw_adjust(visits(3), tmp_path / "a.png", [pair(1, 2), pair(2, 3, used=False)])
    lost = draw_adjust(visits(3), tmp_path / "b.png", [pair(1, 2), pair(2, 3, "NO_SIGNAL", False)])
    assert pixels_of(path, RED) > 100
    assert pixels_of(lost, RED) == 0
    assert pair(2, 3, used=False).is_wrong
    assert not pair(2, 3, "NO_SIGNAL", used=False).is_wrong


def test_visits_that_are_not_moved_are_shown_as_such(tmp_path):
    table = visits(2, status=AdjustStatus.FAILED, reference=None, cov=np.full((6, 6), np.nan))
    path = draw_adjust(table, tmp_path / "a.png")
    assert pixels_of(path, RED) > 100
    assert pixels_of(path, GREEN) == 0


def test_visits_upon_one_another_are_drawn_apart(tmp_path):
    # each of the stars, crosses and dots is to be seen
    one = pixels_of(
        draw_adjust(visits(2, 0.0, status=AdjustStatus.FAILED), tmp_path / "1.png"), RED
    )
    few = pixels_of(
        draw_adjust(visits(6, 0.0, status=AdjustStatus.FAILED), tmp_path / "5.png"), RED
    )
    assert few > 2 * one


def test_errors_that_nobody_knows_are_not_drawn(tmp_path):
    known = draw_adjust(visits(2), tmp_path / "a.png")
    unknown = draw_adjust(visits(2, cov=np.full((6, 6), np.nan)), tmp_path / "b.png")
    assert 0 < pixels_of(unknown, GREEN) < pixels_of(known, GREEN)


def test_a_table_without_places_cannot_be_drawn(tmp_path):
    entry = VisitCorrection(parse_key("jw02107041001"), Correction.none())
    assert draw_adjust(WcsAdjust((entry,)), tmp_path / "a.png") is None
    assert not list(tmp_path.iterdir())


def test_pairs_are_read_from_the_folder_beside_the_table(tmp_path):
    run = {"bands": {"F770W": {"method": "cross_corr"}, "F300M": {"method": "tweakreg"}}}
    table = tmp_path / "m51_wcs_adjust.toml"
    assert read_visit_pairs(table, WcsAdjust((), run)) == ()
    (tmp_path / "get_wcs_adjust").mkdir()
    rows = Table(
        {
            "first": ["jw1", "jw1"], "second": ["jw2", "jw3"], "status": ["OK", "NO_SIGNAL"],
            "used": [False, False], "closure": np.array([[0.3, 0.4], [np.nan, np.nan]]),
        }
    )  # fmt: skip
    rows.write(tmp_path / "get_wcs_adjust" / "F770W_cross_corr_pairs.ecsv")
    rows.write(tmp_path / "get_wcs_adjust" / "F999W_cross_corr_pairs.ecsv")  # not of this table
    first, second = read_visit_pairs(table, WcsAdjust((), run))
    assert (first.first, first.second, first.is_wrong) == ("jw1", "jw2", True)
    assert first.closure == pytest.approx(0.5)
    assert not second.is_wrong
    assert read_visit_pairs(table, WcsAdjust((), {})) == ()
    # bands that were mixed have one table
    rows[:1].write(tmp_path / "get_wcs_adjust" / "F1130W+F770W_cross_corr_pairs.ecsv")
    run = {
        "mix_bands": True,
        "bands": {band: {"method": "cross_corr"} for band in ("F770W", "F1130W")},
    }
    assert len(read_visit_pairs(table, WcsAdjust((), run))) == 1


def test_tables_of_no_pairs_and_broken_ones(tmp_path):
    run = {"bands": {"F770W": {"method": "cross_corr"}}}
    table = tmp_path / "get_wcs_adjust" / "F770W_cross_corr_pairs.ecsv"
    table.parent.mkdir()
    names = ("first", "second", "status", "used")
    empty = Table({name: np.array([], dtype=bool if name == "used" else str) for name in names})
    empty["closure"] = np.zeros((0, 2))
    empty.write(table)
    assert read_visit_pairs(tmp_path / "m51_wcs_adjust.toml", WcsAdjust((), run)) == ()
    table.write_text("# %ECSV 1.0\nfirst second\njw1 jw2\n")
    with pytest.raises(InputError, match="F770W_cross_corr_pairs"):
        read_visit_pairs(tmp_path / "m51_wcs_adjust.toml", WcsAdjust((), run))
