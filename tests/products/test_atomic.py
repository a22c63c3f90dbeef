import errno
import os
import subprocess
import sys

import pytest

from webbalign.core.errors import InputError
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sweep_removes_what_was_left_by_a_process_whose_parent_has_not_noticed(tmp_path):
    process = subprocess.Popen(["sleep", "60"])
    ours = reserve(tmp_path / "z.fits")
    ours.write_text("half")
    mark = ours.parent.name.partition("-")[0]
    ours.parent.rename(ours.parent.parent / f"{mark}-{process.pid}-12345678")
    assert sweep(tmp_path) == []
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert sweep(tmp_path) == ["z.fits"]
    process.wait()


def test_sweep_removes_stale_files_of_a_reused_process_number(tmp_path):
    old = reserve(tmp_path / "c.fits")
    old.write_text("old")
    os.utime(old, (0, 0))
    assert sweep(tmp_path) == [old.name]


def test_sweep_leaves_what_another_machine_writes(tmp_path):
    ours = reserve(tmp_path / "d.fits")
    ours.write_text("in work")
    mark, _, rest = ours.parent.name.partition("-")
    elsewhere = ours.parent.rename(ours.parent.parent / f"{'0' * len(mark)}-{2**30}-{rest}")
    assert sweep(tmp_path) == []
    os.utime(elsewhere / "d.fits", (0, 0))
    assert sweep(tmp_path) == ["d.fits"]


def test_sweep_leaves_a_place_that_is_not_written_to_yet(tmp_path):
    place = reserve(tmp_path / "e.fits")
    assert sweep(tmp_path) == []
    place.write_text("now")


def test_a_folder_is_no_file_to_write(tmp_path):
    with (
        pytest.raises(InputError, match=f"a folder, not a file - {tmp_path} - "),
        atomic_path(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_to_write_into(tmp_path):
    (tmp_path / "a").write_text("a file")
    with (
        pytest.raises(InputError, match=f"no writing into it .* - {tmp_path / 'a'} - "),
        atomic_path(tmp_path / "a" / "b.fits"),
    ):
        pass
    assert (tmp_path / "a").read_text() == "a file"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        # as astropy says it
        OSError("Not enough space on disk: requested 2, available 0."),
        # as numpy says it
        OSError("4096 requested and 1632 written"),
    ],
)
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path, error):
    final = tmp_path / "a.fits"
    with pytest.raises(OSError) as told, atomic_path(final) as temporary:
        temporary.write_text("half")
        raise error
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(final))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as told, atomic_path(tmp_path / "a.fits"):
        (tmp_path / "input.fits").read_bytes()
    assert told.value.filename == str(tmp_path / "input.fits")


def test_a_hidden_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    make, removed = os.mkdir, []

    def vanishing(path, mode=0o777):
        make(path, mode)
        if os.path.basename(path) == PARTIAL and len(removed) < 3:
            os.rmdir(path)
            removed.append(path)

    monkeypatch.setattr(os, "mkdir", vanishing)
    with atomic_path(tmp_path / "a.fits") as temporary:
        temporary.write_text("whole")
    assert len(removed) == 3
    assert (tmp_path / "a.fits").read_text() == "whole"
