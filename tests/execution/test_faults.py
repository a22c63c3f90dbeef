"""Workers that are killed, interruptions, main processes that vanish."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.execution.deaths import die_first
from webbalign.execution import ExecutorError, available_memory, executor, memory, workers_within
from webbalign.execution.contract import name_of

LINUX = sys.platform == "linux"


def tasks(folder, deaths_of):
    return [(str(folder), number, deaths_of.get(number, 0)) for number in range(6)]


@pytest.mark.parametrize("deaths_of", [{2: 1}, {0: 1, 5: 1}, {3: 3}])
def test_what_is_lost_with_a_worker_is_done_again(tmp_path, deaths_of, caplog):
    with executor("processes", 2) as pool:
        assert list(pool.map(die_first, tasks(tmp_path, deaths_of))) == list(range(6))
        assert list(pool.map(abs, [-1])) == [1]
    assert "a worker process was killed" in caplog.text
    assert len(list(tmp_path.iterdir())) == sum(deaths_of.values())


def test_what_kills_every_worker_is_named_and_alone_fails(tmp_path):
    with executor("processes", 2) as pool:
        outcomes = list(pool.attempt(die_first, tasks(tmp_path, {1: 99})))
        assert [outcome.result for outcome in outcomes] == [0, None, 2, 3, 4, 5]
        with pytest.raises(ExecutorError, match=f"was killed 4 times - {tmp_path} - "):
            outcomes[1].open()
    assert len(list(tmp_path.iterdir())) == 4


SCRIPT = """
import os, sys, time
from webbalign.execution import executor

def work(name):
    with open(name, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, preload = sys.argv[1], sys.argv[2:]
    try:
        with executor("processes", 2, preload) as pool:
            print("ready", flush=True)
            list(pool.map(work, [os.path.join(folder, name) for name in "abcd"]))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise SystemExit(130)
"""


@pytest.fixture
def started(tmp_path):
    """Start the script in a group of its own; return a way to do so that ends it at last."""
    processes = []
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(*preload):
        work = tmp_path / "work"
        work.mkdir()
        command = [sys.executable, str(script), str(work), *preload]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        return process, work

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def workers_in(folder):
    """Wait until both workers are at work; return their process numbers."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        numbers = [int(text) for path in folder.iterdir() if (text := path.read_text())]
        if len(numbers) == 2:
            return numbers
        time.sleep(0.02)
    raise AssertionError("no workers")


def is_gone(pid):
    """Tell whether a process ends within some seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if LINUX and "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("preload", [(), ("colorsys",)])
def test_ctrl_c_ends_the_workers_and_says_nothing(started, preload):
    process, folder = started(*preload)
    workers = workers_in(folder)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.split(), err) == (130, ["ready", "interrupted"], "")
    assert all(map(is_gone, workers))


@pytest.mark.skipif(not LINUX, reason="elsewhere the workers are spawned without a server")
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1, 0.3])
def test_ctrl_c_while_the_workers_start(started, delay):
    process, _ = started("colorsys")
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out.split(), err) == (130, ["interrupted"], "")


@pytest.mark.parametrize("preload", [(), ("colorsys",)])
def test_workers_end_with_the_process_they_work_for(started, preload):
    process, folder = started(*preload)
    workers = workers_in(folder)
    process.kill()
    process.wait()
    assert all(map(is_gone, workers))


def test_items_are_called_by_the_file_they_are_about(tmp_path):
    from dataclasses import dataclass

    @dataclass
    class Task:
        number: int
        path: Path

    assert name_of("a.fits") == "a.fits"
    assert name_of((3, tmp_path)) == str(tmp_path)
    assert name_of(Task(1, tmp_path)) == str(tmp_path)
    assert name_of(12) == "12"
    assert len(name_of(list(range(1000)))) < 130


# Memory -------------------------------------------------------------------------------------------


def test_workers_fit_into_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_cores", lambda: 8)
    monkeypatch.setattr(memory, "available_memory", lambda: 1_500_000_000)
    few = workers_within()
    assert 1 <= few < 8
    assert few * memory.LEAST_PER_WORKER + memory.BASE <= 1_500_000_000
    assert workers_within(2_000_000_000) > few
    assert workers_within(100_000_000_000) == 8
    assert workers_within(100_000_000_000, most=3) == 3
    assert workers_within(400_000_000) == 1
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert workers_within() == 8
    with pytest.raises(ExecutorError, match="0.1 GB of memory are not enough"):
        workers_within(100_000_000)


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    machine, limit, used = (tmp_path / name for name in ("meminfo", "max", "current"))
    machine.write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", machine)
    monkeypatch.setattr(memory, "_CGROUPS", ((limit, used),))
    assert available_memory() == 4_096_000
    limit.write_text("max\n")
    used.write_text("500000\n")
    assert available_memory() == 4_096_000
    limit.write_text("1500000\n")
    assert available_memory() == 1_000_000
    limit.write_text("100\n")
    assert available_memory() == 0


def test_processes_are_limited_by_the_memory_given():
    assert executor("processes", 8, memory=1_200_000_000).workers < 8
    assert executor("processes", 2, memory=10**12).workers == 2


def test_small_work_is_done_serially():
    assert executor("auto", 2, seconds=0.5).name == "serial"
    assert executor("auto", 2, seconds=100.0).name == "processes"
    assert executor("auto", 1, seconds=100.0).name == "serial"
    assert executor("auto", 2).name == "processes"
