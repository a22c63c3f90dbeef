"""Workers forked from a server that has only imported, and spawned ones, start in the same way."""

import gc
import os
import signal
import subprocess
import sys
from multiprocessing import forkserver

import pytest

from webbalign.execution import executor
from webbalign.execution.fresh_processes import fresh_processes

MODULE = "colorsys"  # one that nothing else imports
PRELOADS = [(), (MODULE,)]
LINUX = sys.platform == "linux"


def is_imported(name):
    return name in sys.modules


def process_and_parent(_):
    return os.getpid(), os.getppid()


def environment_of(name):
    return os.environ.get(name)


def state(_):
    return signal.getsignal(signal.SIGINT), gc.isenabled(), gc.get_freeze_count() > 0


def blas_threads(_):
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info()}


@pytest.mark.skipif(not LINUX, reason="the server is used on Linux only")
def test_workers_have_what_was_preloaded_and_no_server_stays():
    with executor("processes", 2, (MODULE,)) as pool:
        assert list(pool.map(is_imported, [MODULE, MODULE])) == [True, True]
        server = forkserver._forkserver._forkserver_pid
        for process, parent in pool.map(process_and_parent, range(4)):
            assert process != os.getpid()
            assert parent == server
        assert list(pool.map(state, [0])) == [(signal.SIG_IGN, True, True)]
    assert forkserver._forkserver._forkserver_pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_without_preload_workers_are_spawned():
    with executor("processes", 1) as pool:
        assert list(pool.map(is_imported, [MODULE])) == [False]
        assert next(pool.map(process_and_parent, [0]))[1] == os.getpid()
        assert next(pool.map(state, [0]))[:2] == (signal.SIG_IGN, True)


def test_a_pool_within_a_pool():
    with executor("processes", 1, (MODULE,)) as outer:
        assert list(outer.map(is_imported, [MODULE])) == [True]
        with executor("processes", 1, (MODULE,)) as inner:
            assert list(inner.map(is_imported, [MODULE])) == [True]
        assert list(outer.map(abs, [-1])) == [1]


@pytest.mark.parametrize("preload", PRELOADS)
def test_the_environment_is_that_of_the_moment(monkeypatch, preload):
    with fresh_processes(preload):  # a server that was started earlier
        monkeypatch.setenv("WEBBALIGN_TEST", "now")
        with executor("processes", 1, preload) as pool:
            assert list(pool.map(environment_of, ["WEBBALIGN_TEST"])) == ["now"]


@pytest.mark.parametrize("preload", [(), ("numpy",)])
@pytest.mark.parametrize("inherited, expected", [("", 2), ("1", 1), ("8", 2)])
def test_threads_are_as_many_as_allowed(monkeypatch, preload, inherited, expected):
    from webbalign.execution import threads

    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", inherited)
    before = dict(os.environ)
    with executor("processes", 2, preload) as pool:
        # none where this NumPy has a library that threadpoolctl does not know
        assert next(pool.map(blas_threads, [0])) <= {expected}
    assert dict(os.environ) == before


def test_what_cannot_be_preloaded_does_no_harm():
    with executor("processes", 1, ("there.is.no.such.module",)) as pool:
        assert list(pool.map(abs, [-3])) == [3]


def test_the_work_of_the_workers_is_counted_as_that_of_children():
    script = """
import resource
from webbalign.execution import executor

if __name__ == "__main__":
    with executor("processes", 1, ("colorsys",)) as pool:
        list(pool.map(sum, [range(20_000_000)]))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) > 0.1
