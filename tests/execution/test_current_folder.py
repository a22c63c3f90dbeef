"""Relative file names mean the same in a worker as in the process that it works for."""

import os
import threading

import pytest

from webbalign.execution import worker
from webbalign.execution.current_folder import current_folder, within_folder


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders; this process is in the first."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here", tmp_path / "there"


def where(_):
    return os.getcwd()


def test_a_call_of_another_process_is_worked_on_in_its_folder(folders, monkeypatch):
    here, there = map(str, folders)
    call = worker.Call(where)
    monkeypatch.setattr(worker, "_MARK", worker._MARK + 1)
    monkeypatch.chdir(there)
    assert call(None).open() == here
    assert os.getcwd() == there


def test_an_error_leaves_the_folder(folders):
    here, there = map(str, folders)
    with pytest.raises(RuntimeError), within_folder(there):
        assert os.getcwd() == there
        raise RuntimeError
    assert os.getcwd() == here


@pytest.mark.parametrize("missing", [None, "/no/such/folder"])
def test_a_folder_that_is_not_here_is_left_alone(folders, missing):
    with within_folder(missing):
        assert os.getcwd() == str(folders[0])


def test_a_folder_that_was_removed_is_none(folders):
    folders[0].rmdir()
    assert current_folder() is None
    with within_folder(str(folders[1])):
        assert os.getcwd() == str(folders[1])
    os.chdir(folders[1])


def test_threads_share_a_folder_and_wait_for_another(folders):
    here, there = map(str, folders)
    entered, seen = threading.Event(), []

    def other():
        entered.set()
        with within_folder(here):
            seen.append(os.getcwd())

    thread = threading.Thread(target=other)
    with within_folder(there), within_folder(there):
        thread.start()
        entered.wait(10)
        thread.join(0.1)
        assert os.getcwd() == there
        assert not seen
    thread.join(10)
    assert seen == [here]
    assert os.getcwd() == here
