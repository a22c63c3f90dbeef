import os
import subprocess
import sys

import pytest

from webbalign.products.atomic import PARTIAL, atomic_path, discard, reserve, sweep


def test_a_file_appears_when_it_is_whole(tmp_path):
    final = tmp_path / "a.fits"
    with atomic_path(final) as temporary:
        temporary.write_text("whole")
        assert temporary.name == final.name
        assert not final.exists()
    assert final.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    final = tmp_path / "a.fits"
    final.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_sweep_removes_what_a_killed_process_left(tmp_path):
    code = (
        "import sys, os; from webbalign.products.atomic import reserve;"
        "reserve(sys.argv[1]).write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.fits")], check=False)
    mine = reserve(tmp_path / "b.fits")
    mine.write_text("in work")
    assert sweep(tmp_path) == ["a.fits"]
    assert mine.exists()
    discard(mine)
    assert not (tmp_path / PARTIAL).exists()


def test_sweep_removes_stale_files_of_a_reused_process_number(tmp_path):
    old = reserve(tmp_path / "c.fits")
    old.write_text("old")
    os.utime(old, (0, 0))
    assert sweep(tmp_path) == [old.name]
