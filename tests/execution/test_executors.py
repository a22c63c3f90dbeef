"""One suite over all executors: the same contract whatever does the work."""

from __future__ import annotations

import errno
import importlib.util
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from webbalign.core.errors import InputError, OptionError
from webbalign.execution import NAMES, ExecutorError, NullProgress, Progress, executor, worker

HAS_DASK = importlib.util.find_spec("distributed") is not None
WORKERS = 2


def square(number):
    return number * number


def slow_if_first(number):
    time.sleep(0.2 if number == 0 else 0.0)
    return number


def fail_at_three(number):
    if number == 3:
        raise ValueError("three is refused")
    return number


def refuse(name):
    raise InputError(name, "nothing in it", "an image")


def refuse_option(_):
    raise OptionError("option 'x' is 1")


def process_id(_):
    return os.getpid()


def sum_of_array(array):
    return float(array.sum())


def blas_threads(_):
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=0)


def die(_):
    os._exit(3)


def say(name):
    logger = logging.getLogger("webbalign.test")
    logger.info("%s %d", name, 1, extra={"unpicklable": lambda: None})
    logger.warning("%s %d", name, 2)
    logger.debug("not wanted")
    return 1


def say_and_fail(_):
    logging.getLogger("webbalign.test").info("about to fail")
    raise ValueError("after all")


def warn(number):
    warnings.warn("look out", stacklevel=1)
    return number


def fail_twice(task):
    """Fail as a file system does; counts its calls in a file."""
    name, number = task
    calls = Path(name)
    calls.write_text(f"{calls.read_text() if calls.exists() else ''}x")
    if len(calls.read_text()) <= 2:
        raise OSError(number, os.strerror(number), f"{name}.fits")
    return len(calls.read_text())


def given_threads():
    return ThreadPoolExecutor(WORKERS)


def given_processes():
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


def given_client():
    from distributed import Client

    # pages of its own port: other tests have clusters at the same time
    place = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return Client(n_workers=WORKERS, threads_per_worker=1, **place)


GIVEN = {
    "given threads": given_threads, "given processes": given_processes, "dask client": given_client
}  # fmt: skip


@pytest.fixture(scope="module", params=[*NAMES, *GIVEN])
def pool(request):
    if "dask" in request.param and not HAS_DASK:
        pytest.skip("dask is not installed (extra 'dask')")
    if request.param in NAMES:
        with executor(request.param, WORKERS) as started:
            yield started
        return
    with GIVEN[request.param]() as given:
        with executor(given) as started:
            yield started
        # it goes on: whoever made it ends it
        assert given.submit(square, 3).result() == 9


def test_results_come_in_the_order_of_the_items(pool):
    assert list(pool.map(slow_if_first, range(6))) == list(range(6))


def test_no_items_give_no_results(pool):
    assert list(pool.map(square, [])) == []


def test_items_may_come_from_a_generator(pool):
    assert list(pool.map(square, (n for n in range(20)))) == [n * n for n in range(20)]


def test_equal_items_are_worked_on_once_each(pool):
    assert list(pool.map(square, [2, 2, 2])) == [4, 4, 4]


def test_arrays_travel(pool):
    import numpy as np

    arrays = [np.full((30, 40), value, dtype=float) for value in range(4)]
    assert list(pool.map(sum_of_array, arrays)) == [1200.0 * value for value in range(4)]


def test_an_exception_is_raised_in_its_place_and_the_pool_lives_on(pool):
    results = pool.map(fail_at_three, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three is refused"):
        next(results)
    assert list(pool.map(square, [5])) == [25]


def test_our_errors_arrive_as_they_were_raised(pool):
    with pytest.raises(InputError) as caught:
        list(pool.map(refuse, ["a_calints.fits"]))
    assert str(caught.value) == "nothing in it - a_calints.fits - give an image"
    assert (caught.value.name, caught.value.expected) == ("a_calints.fits", "an image")
    with pytest.raises(OptionError, match="option 'x' is 1"):
        list(pool.map(refuse_option, [1]))


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_odd(_):
    raise OddError(1, 2)


def test_an_exception_that_cannot_travel_breaks_nothing(pool):
    with pytest.raises((OddError, RuntimeError), match="1 and 2"):
        list(pool.map(raise_odd, [0]))
    assert list(pool.map(square, [3])) == [9]


def test_results_can_be_left_unread(pool):
    results = pool.map(square, range(50))
    assert next(results) == 0
    results.close() if hasattr(results, "close") else None
    assert list(pool.map(square, [3])) == [9]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dask" or HAS_DASK])
def test_what_an_error_left_in_the_middle_ends_with_the_executor(name):
    with pytest.raises(KeyError), executor(name, WORKERS) as started:
        results = started.map(square, range(100))
        next(results)
        raise KeyError
    # though the results are still at hand, as they are in the frames of an error
    assert list(results) == []


def test_items_are_drawn_only_a_few_ahead(pool):
    drawn = []

    def items():
        for number in range(100):
            drawn.append(number)
            yield number

    results = pool.map(square, items())
    next(results)
    assert len(drawn) <= 3 * WORKERS + 1


def test_workers_times_threads_stay_within_the_cores(monkeypatch):
    from webbalign.execution import threads

    # as if on a machine of 4 cores: 2 workers may use 2 threads each
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for name in ("threads", "processes"):
        with executor(name, WORKERS) as started:
            assert all(0 < count <= 2 for count in started.map(blas_threads, range(3)))


def test_the_work_is_done_where_the_name_says(pool):
    ids = set(pool.map(process_id, range(6)))
    here = os.getpid()
    assert (ids == {here}) if pool.shares_memory else (here not in ids)
    assert pool.workers == (1 if pool.name == "serial" else WORKERS)


def test_all_outcomes_can_be_had_though_some_fail(pool):
    outcomes = list(pool.attempt(fail_at_three, range(5)))
    assert [outcome.result for outcome in outcomes] == [0, 1, 2, None, 4]
    assert [type(outcome.error) for outcome in outcomes if outcome.error] == [ValueError]


def test_an_executor_may_be_entered_again(pool):
    with executor(pool) as again:
        assert list(again.map(square, [4])) == [16]
    assert list(pool.map(square, [5])) == [25]


def test_what_workers_log_arrives_in_order(pool, caplog):
    with caplog.at_level(logging.INFO, "webbalign"):
        assert list(pool.map(say, ["a", "b", "c"])) == [1, 1, 1]
    records = [record for record in caplog.records if record.name == "webbalign.test"]
    said = [(record.levelname, record.getMessage()) for record in records]
    if pool.name != "threads" and not (pool.name == "given" and pool.shares_memory):
        assert said == [
            (level, f"{name} {number}") for name in "abc"
            for level, number in (("INFO", 1), ("WARNING", 2))
        ]  # fmt: skip
    assert len(said) == 6


def test_the_log_of_what_failed_arrives_too(pool, caplog):
    with caplog.at_level(logging.INFO, "webbalign"), pytest.raises(ValueError, match="after all"):
        list(pool.map(say_and_fail, ["a"]))
    assert "about to fail" in caplog.text


def test_what_is_not_wanted_is_not_told(pool, caplog):
    with caplog.at_level(logging.WARNING):
        list(pool.map(say, ["a"]))
    assert [record.getMessage() for record in caplog.records] == ["a 2"]


def test_warnings_arrive_once(pool):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert list(pool.map(warn, range(6))) == list(range(6))
    told = [warning for warning in caught if issubclass(warning.category, UserWarning)]
    assert [str(warning.message) for warning in told] == ["look out"]
    assert told[0].filename == __file__


def test_reading_is_tried_again_where_that_may_help(pool, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(worker, "WAITS", (0.0, 0.0, 0.0))
    with caplog.at_level(logging.WARNING):
        assert list(pool.map(fail_twice, [(str(tmp_path / "a"), errno.EIO)])) == [3]
    assert caplog.text.count("a.fits") == 2
    assert "trying again" in caplog.text


def test_an_error_of_a_file_names_the_file(pool, tmp_path):
    with pytest.raises(OSError, match="a.fits") as caught:
        list(pool.map(fail_twice, [(str(tmp_path / "a"), errno.ENOSPC)]))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, f"{tmp_path / 'a'}.fits")


def test_threads_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)
    with executor("threads", 2) as started:
        assert len(list(started.map(lambda _: meeting.wait(), range(2)))) == 2


def test_limits_are_lifted_afterwards():
    before = blas_threads(None)
    environment = dict(os.environ)
    with executor("threads", 64) as started:
        assert list(started.map(blas_threads, [0])) == [1]
    assert blas_threads(None) == before
    assert dict(os.environ) == environment


@pytest.mark.parametrize("inherited, expected", [("1", "1"), ("8", "2"), ("", "2"), ("all", "2")])
def test_a_lower_limit_of_the_user_is_kept(monkeypatch, inherited, expected):
    from webbalign.execution import limit_threads

    monkeypatch.setenv("OMP_NUM_THREADS", inherited)
    with limit_threads(2):
        assert os.environ["OMP_NUM_THREADS"] == expected
    assert os.environ["OMP_NUM_THREADS"] == inherited


def test_cores_follow_the_quota_of_a_container(monkeypatch, tmp_path):
    from webbalign.execution import threads

    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(threads, "_CGROUP_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for text, cores in (("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("?", 8)):
        quota.write_text(text)
        assert threads.available_cores() == cores
    assert threads.threads_per_worker(3, cores=8) == 2
    assert threads.threads_per_worker(9, cores=8) == 1


def test_a_dead_worker_is_explained():
    with executor("processes", 1) as started, pytest.raises(ExecutorError, match="out of memory"):
        list(started.map(die, [0]))


def test_unknown_names_and_numbers_are_refused():
    with pytest.raises(ExecutorError, match="no executor 'cloud' - give one of serial, threads"):
        executor("cloud")
    with pytest.raises(ExecutorError, match="workers is 0"):
        executor("threads", 0)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_pool_is_used_within_its_block(name):
    unused = executor(name, 1)
    with pytest.raises(ExecutorError, match="is not started - use it in a 'with' block"):
        unused.map(square, [1])


def test_without_dask_the_user_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError, match=r"pip install 'webbalign\[dask\]'"):
        executor("dask")


def test_importing_the_executors_loads_no_numerical_library():
    script = textwrap.dedent(
        """
        import sys
        import webbalign.execution
        heavy = {"numpy", "scipy", "threadpoolctl", "dask", "distributed", "multiprocessing"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_silent_progress_fulfils_the_contract():
    progress = NullProgress()
    assert isinstance(progress, Progress)
    progress.done()
    progress.start("klip", None)
    progress.advance(2)
    progress.done()
