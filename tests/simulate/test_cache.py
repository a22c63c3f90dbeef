from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from webbalign.simulate.cache import cache_folder, cached_arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "webbalign"


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(3), "b": np.eye(2)}


def test_computes_once_per_key(folder):
    compute = Counted()
    first = cached_arrays("kind", (1, "x"), compute)
    second = cached_arrays("kind", (1, "x"), compute)
    assert compute.calls == 1
    np.testing.assert_array_equal(first["b"], second["b"])
    cached_arrays("kind", (2, "x"), compute)
    assert compute.calls == 2
    assert cache_folder() == folder
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_file_is_replaced(folder):
    compute = Counted()
    cached_arrays("kind", 1, compute)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    again = cached_arrays("kind", 1, compute)
    assert compute.calls == 2
    np.testing.assert_array_equal(again["a"], np.arange(3))
    cached_arrays("kind", 1, compute)
    assert compute.calls == 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert set(cached_arrays("kind", 1, Counted())) == {"a", "b"}


def test_options_import_nothing_heavy():
    code = (
        "import sys; from webbalign.simulate import CoronSimulation; CoronSimulation();"
        "print([name for name in ('numpy', 'poppy', 'astropy', 'stdatamodels') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
