"""coron3 on a dask cluster of other processes: same bits, also where workers or schedulers die."""

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from benchmarks.clusters import Cluster
from webbalign.pipelines.coron3 import run

if importlib.util.find_spec("distributed") is None:
    pytest.skip("dask is not installed (extra 'dask')", allow_module_level=True)

from distributed import Client

from benchmarks import mishaps
from benchmarks.mishaps import Plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(sequence, tmp_path_factory):
    """The products of a serial run."""
    folder = tmp_path_factory.mktemp("whole")
    run(sequence.association, output_dir=folder)
    return contents(folder)


@pytest.fixture
def cluster(tmp_path):
    """A cluster of two workers, whose current folder is not ours."""
    (tmp_path / "cluster").mkdir()
    started = Cluster(tmp_path / "cluster", 2)
    yield started
    started.end()


@pytest.fixture
def client(cluster):
    with Client(cluster.address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("job", ["FlagJob", "FitJob"])
def test_a_killed_worker_changes_nothing(
    sequence, whole, client, cluster, tmp_path, monkeypatch, job
):
    monkeypatch.chdir(tmp_path)
    ticket = tmp_path / "ticket"
    client.run(mishaps.arrange, Plan(job, 0.002, str(ticket)))
    run(os.path.relpath(sequence.association), output_dir="out", executor=client)
    assert ticket.exists()
    assert contents(tmp_path / "out") == whole
    assert sorted(path.name for path in cluster.folder.iterdir() if path.suffix != ".log") == []


# whoever runs the tests in the background of a shell hands on that interruptions are ignored
_HEEDING_INTERRUPTIONS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from webbalign.cli import main
sys.exit(main())
"""


def start(sequence, folder, *words):
    command = [sys.executable, "-c", _HEEDING_INTERRUPTIONS, "coron3", str(sequence.association)]
    return subprocess.Popen(
        [*command, "--output-dir", str(folder), "--no-report", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("victim", ["scheduler", "command"])
def test_what_is_broken_off_is_resumed(sequence, whole, client, cluster, tmp_path, victim):
    words = ("--dask", cluster.address)
    process = start(sequence, tmp_path / "out", *words)
    pid, number = {
        "scheduler": (cluster.scheduler.pid, signal.SIGKILL),
        "command": (process.pid, signal.SIGINT),
    }[victim]
    ticket = tmp_path / "ticket"
    client.run(mishaps.arrange, Plan("FitJob", 0.0, str(ticket), pid, number))
    told, _ = process.communicate(timeout=120)
    assert ticket.exists()
    last = told.splitlines()[-1]
    assert "Traceback" not in told
    if victim == "command":
        assert process.returncode == 130
        assert last == "webbalign: error: interrupted; every product that was written is whole"
    else:
        assert process.returncode == 1
        assert last.startswith(
            f"webbalign: error: the dask scheduler has gone - {cluster.address} - "
        )
        assert "--resume" in last
        cluster.restart()
    told, _ = start(sequence, tmp_path / "out", "--resume", *words).communicate(timeout=120)
    assert ", unchanged" in told
    assert contents(tmp_path / "out") == whole


def test_an_interruption_of_a_cluster_of_our_own(sequence, tmp_path):
    process = start(sequence, tmp_path / "out", "--executor", "dask", "--workers", "2")
    for line in process.stdout:
        if line.startswith("saved "):
            break
    # a terminal sends it to all processes of the command
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    errors = [line for line in told.splitlines() if "error" in line]
    assert errors == ["webbalign: error: interrupted; every product that was written is whole"]
    assert "Traceback" not in told
