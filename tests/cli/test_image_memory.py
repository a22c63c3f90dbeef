import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.cli import main
from webbalign.cli.image_memory import CORRELATION, STARS, count_images
from webbalign.core.errors import OptionError

sizes = st.integers(0, 20 * 10**9)


@pytest.mark.parametrize("work", [STARS, CORRELATION])
@given(memory=sizes, images=st.integers(1, 5000), most=st.integers(1, 64), least=st.integers(0, 1))
def test_what_is_granted_fits(work, memory, images, most, least):
    try:
        workers = work.workers(memory, images, most, least)
    except OptionError:
        assert memory < max(work.alone, work.shared + work.each) + images * work.per_image
        return
    assert 1 <= workers <= most
    kept = images * work.per_image
    in_processes = kept + work.shared + workers * work.each
    assert in_processes <= memory or (least, workers) == (1, 1)
    assert kept + min(work.alone, in_processes) <= memory


def test_600_mb_are_enough_for_one_process_and_more_for_more():
    assert STARS.workers(600_000_000, 32, 8) == 1
    assert STARS.workers(1_000_000_000, 32, 8) == 2
    assert STARS.workers(10**10, 32, 8) == 8


def test_members_of_an_association_are_counted(tmp_path):
    path = tmp_path / "x_asn.json"
    path.write_text(
        json.dumps({"products": [{"members": [{"expname": str(k)} for k in range(7)]}]})
    )
    assert count_images([str(path)]) == 7
    assert count_images(["a.fits", "b.fits"]) == 2
    path.write_text("no JSON")
    assert count_images([str(path)]) == 1


def test_too_little_memory_is_told_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a_cal.fits", "b_cal.fits"):
        (tmp_path / name).touch()
    assert main(["find-stars", "a_cal.fits", "b_cal.fits", "--memory", "300MB"]) == 2
    assert "--memory is 300 MB; 2 images need at least 331 MB" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_cal.fits", "b_cal.fits"]
