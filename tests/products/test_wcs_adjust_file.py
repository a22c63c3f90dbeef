"""The table survives the file to the last digit; PJPipe's is read; a broken one is named."""

import tomllib

import numpy as np
import pytest

from tests.products.test_visits import info
from webbalign.core.errors import InputError
from webbalign.products.corrector import Correction
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import (
    AdjustStatus,
    VisitCorrection,
    WcsAdjust,
    read_wcs_adjust,
    write_wcs_adjust,
)

PJPIPE = """[wcs_adjust]

jw01345001001_02201_00001_nrca1.shift = [0.123, -0.456]
jw01345001001_02201_00001_nrca1.matrix = [
\t[1.0, 0.001],
\t[-0.001, 1.0]
]
jw01345001001_02201_00001_nrcalong.shift = [0.2, 0.0]
jw01345001001_02201_00001_nrcalong.matrix = [
\t[1.0, 0.0],
\t[0.0, 1.0]
]
jw01345001002.shift = [0.5, 0.5]
jw01345001002.matrix = [
\t[1.0, 0.0],
\t[0.0, 1.0]
]

"""


def entry(key="jw01345001001", shift=(0.1, 0.2), **changes):
    rng = np.random.default_rng(3)
    values = {
        "correction": Correction(np.eye(2) + rng.normal(0, 1e-4, (2, 2)), np.array(shift) / 3),
        "reference": (214.93 / 7, -52.96 / 7), "cov": rng.normal(0, 1e-6, (6, 6)),
        "status": AdjustStatus.ALIGNED, "reason": 'left "out"', "n_images": 4, "n_used": 100,
        "rms": 1e-3 / 3, "chi2_reduced": 1.1 / 3, "scatter": 2e-3 / 3, "bands": ("F300M",),
        "methods": ("tweakreg",), "frame": "gaia.ecsv",
    } | changes  # fmt: skip
    return VisitCorrection(key=parse_key(key), **values)


def test_every_digit_comes_back(tmp_path):
    given = WcsAdjust((entry(), entry("jw01345001001_02201_00001_nrca")), {"target": "m51"})
    path = write_wcs_adjust(given, tmp_path / "new" / "m51_wcs_adjust.toml")
    again = read_wcs_adjust(path)
    assert again.run == {"target": "m51"}
    for first, second in zip(given.entries, again.entries, strict=True):
        assert second.key == first.key
        np.testing.assert_array_equal(second.correction.shift, first.correction.shift)
        np.testing.assert_array_equal(second.correction.matrix, first.correction.matrix)
        np.testing.assert_array_equal(second.cov, first.cov)
        for name in ("reference", "status", "reason", "n_images", "n_used", "chi2_reduced",
                     "bands", "methods", "frame"):  # fmt: skip
            assert getattr(second, name) == getattr(first, name)
        assert second.rms == pytest.approx(first.rms, rel=1e-14)
        assert second.scatter == pytest.approx(first.scatter, rel=1e-14)


def test_only_corrections_stand_in_pjpipes_table(tmp_path):
    path = write_wcs_adjust(WcsAdjust((entry(),), {"target": "m51"}), tmp_path / "t.toml")
    content = tomllib.loads(path.read_text())
    assert set(content) == {"wcs_adjust", "run"}
    for table in content["wcs_adjust"].values():
        assert np.shape(table["shift"]) == (2,)
        assert np.shape(table["matrix"]) == (2, 2)


def test_pjpipes_table_is_read(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(PJPIPE)
    table = read_wcs_adjust(path)
    assert [item.status for item in table.entries] == [AdjustStatus.UNKNOWN] * 3
    assert all(item.plane is None and item.is_applied for item in table.entries)
    of_detector = table.correction_for(info())
    np.testing.assert_array_equal(of_detector.correction.shift, [0.123, -0.456])
    # another detector of the module takes what there is for the module
    other = table.correction_for(info(detector="NRCA3"))
    np.testing.assert_array_equal(other.correction.shift, [0.123, -0.456])
    assert table.correction_for(info(detector="NRCB1", module="B")) is None
    assert str(table.correction_for(info(visit="002")).key) == "jw01345001002"
    assert table.correction_for(info(visit="003")) is None


def test_the_most_special_entry_wins():
    names = ["jw01345001001", "jw01345001001_02201_00001", "jw01345001001_02201_00001_nrca"]
    table = WcsAdjust(tuple(entry(name) for name in names))
    found = [
        str(table.correction_for(image).key)
        for image in (info(), info(detector="NRCB1", module="B"), info(exposure="00002"))
    ]
    assert found == names[::-1]


def test_a_table_of_pjpipe_without_anything_is_empty(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text("[wcs_adjust]\n\n")
    assert read_wcs_adjust(path).entries == ()
    assert not read_wcs_adjust(path).all_aligned


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[wcs_adjust", "not readable as TOML"),
        ("a = 1", "no table"),
        ("wcs_adjust = 3", "no table"),
        ("run = 3\n[wcs_adjust]", "run is 3"),
        ("[wcs_adjust]\nhello_world.shift = [1, 2]", "hello_world"),
        ("[wcs_adjust]\njw1 = 3", "jw1: 3"),
        ("[wcs_adjust]\njw1.status = 'ALIGNED'", "neither shift nor matrix"),
        ("[wcs_adjust]\njw1.status = 'ALIGNED'\njw1.shift = [1, 2]", "jw1: no matrix, though"),
        ("[wcs_adjust]\njw1.shift = [1, 2, 3]", "jw1.shift"),
        ("[wcs_adjust]\njw1.shift = ['a', 'b']", "jw1.shift"),
        ("[wcs_adjust]\njw1.shift = [nan, 2]", "jw1"),
        ("[wcs_adjust]\njw1.matrix = [[0, 0], [0, 0]]", "jw1: a singular"),
        ("[wcs_adjust]\njw1.matrix = [1, 0]", "jw1.matrix"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.status = 'FINE'", "FINE"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.status = 3", "status is 3"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.n_used = 1.5", "n_used"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.bands = 'F300M'", "bands"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.reference = [1]", "reference"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.reference = [1, 99]", "reference"),
        ("[wcs_adjust]\njw1.shift = [1, 2]\njw1.cov = [1]", "cov"),
    ],
)
def test_a_broken_table_is_named(tmp_path, text, words):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="broken.toml") as caught:
        read_wcs_adjust(path)
    assert words in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_wcs_adjust(tmp_path / "none.toml")
    with pytest.raises(InputError, match="a folder, not a file"):
        read_wcs_adjust(tmp_path)
