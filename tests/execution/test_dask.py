"""Dask clusters: on this machine by default, running ones by their address, with TLS."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.clusters import LOOPBACK, Cluster
from tests.execution.deaths import die_first
from webbalign.execution import DaskExecutor, ExecutorError, TlsFiles, dask_cluster, executor

if importlib.util.find_spec("distributed") is None:
    pytest.skip("dask is not installed (extra 'dask')", allow_module_level=True)


def slowly(number):
    time.sleep(0.05)
    return number * number


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 0.3)


@pytest.mark.parametrize("address", [f"tcp://{LOOPBACK}:9", "nonsense", "tcp://no.such.host.:1"])
def test_where_no_scheduler_is_the_address_is_named(impatient, address):
    with (
        pytest.raises(ExecutorError, match=f"no dask scheduler answers .* - {address} - "),
        executor(DaskExecutor(address=address)),
    ):
        pass


def test_files_of_tls_have_to_be_there(tmp_path):
    there = tmp_path / "ca.pem"
    there.touch()
    with pytest.raises(ExecutorError, match="--dask-tls-cert is missing"):
        DaskExecutor(address="tls://x:1", tls=TlsFiles(ca=str(there)))
    missing = str(tmp_path / "no.pem")
    with pytest.raises(ExecutorError, match=r"no such file - .*no\.pem - give --dask-tls-cert"):
        DaskExecutor(address="tls://x:1", tls=TlsFiles(str(there), missing, missing))
    files = TlsFiles(*[str(there)] * 3)
    with pytest.raises(
        ExecutorError, match="TLS is asked for - tcp://x:1 - give an address tls://"
    ):
        DaskExecutor(address="tcp://x:1", tls=files)


def listening():
    """Return where this process and its children listen (Linux)."""
    inodes = set()
    for process in _family(os.getpid()):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(words[1].split(":")[0])
    return found


def _family(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(number for child in children for number in _family(int(child)))]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["processes", "dask"])
def test_nothing_listens_but_on_this_machine(name):
    preload = ("colorsys",)
    with executor(name, 2, preload) as pool:
        assert list(pool.map(slowly, range(3))) == [0, 1, 4]
        addresses = listening()
    assert addresses <= {"0100007F", "00000000000000000000000001000000"}
    assert bool(addresses) == (name == "dask")


# Clusters as people run them: a scheduler and workers of their own --------------------------------


@pytest.fixture
def cluster(tmp_path):
    """Return a way to start clusters that ends them."""
    started = []

    def start(workers=1, words=(), protocol="tcp", installed=True):
        started.append(Cluster(tmp_path, workers, words, protocol, installed))
        return started[-1]

    yield start
    for item in started:
        item.end()


@pytest.mark.slow
def test_a_running_cluster_works_and_a_killed_worker_is_no_loss(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 60.0)
    running = cluster(workers=2)
    folder = str(tmp_path)
    with DaskExecutor(address=running.address) as pool:
        assert list(pool.map(slowly, range(30))) == [n * n for n in range(30)]
        tasks = [(folder, number, int(number == 3)) for number in range(10)]
        assert list(pool.map(die_first, tasks)) == list(range(10))
        tasks = [(folder, number, 99 * (number == 1)) for number in range(3)]
        with pytest.raises(
            ExecutorError, match=f"the dask workers .* were killed, 4 .* - {folder} - "
        ):
            list(pool.map(die_first, tasks))
        assert list(pool.map(slowly, [3])) == [9]


@pytest.mark.slow
def test_a_scheduler_that_vanishes_is_one_clear_error(cluster, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 60.0)
    running = cluster()
    with DaskExecutor(address=running.address) as pool:
        results = pool.map(slowly, range(1000))
        assert next(results) == 0
        running.scheduler.kill()
        with pytest.raises(ExecutorError, match=f"has gone - {running.address} - .* --resume"):
            list(results)


@pytest.mark.slow
def test_a_cluster_without_the_program_is_one_clear_error(cluster, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 60.0)
    running = cluster(installed=False)
    with (
        DaskExecutor(address=running.address) as pool,
        pytest.raises(ExecutorError, match=f"- {running.address} - install the same versions "),
    ):
        list(pool.map(slowly, range(3)))


def certificates(folder):
    """Make an authority, a certificate that it has signed, and another authority."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes"]
    for name in ("ca", "other"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={name}", *files)
    openssl(*new, "-subj", "/CN=cluster", "-keyout", "own.key", "-out", "own.csr")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    openssl("x509", "-req", "-in", "own.csr", *signed, "-out", "own.pem")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates with openssl")
def test_with_tls(cluster, tmp_path, monkeypatch):
    certificates(tmp_path)
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "own.pem", "own.key"))
    words = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
    running = cluster(words=words, protocol="tls")
    monkeypatch.setattr(dask_cluster, "PATIENCE", 60.0)
    with DaskExecutor(address=running.address, tls=TlsFiles(ca, cert, key)) as pool:
        assert list(pool.map(slowly, range(5))) == [0, 1, 4, 9, 16]
    monkeypatch.setattr(dask_cluster, "PATIENCE", 3.0)
    other = str(tmp_path / "other.pem")
    wrong = [
        DaskExecutor(address=running.address),
        DaskExecutor(address=running.address.replace("tls", "tcp")),
        DaskExecutor(address=running.address, tls=TlsFiles(other, cert, key)),
    ]
    for refused in wrong:
        with pytest.raises(ExecutorError, match=r"no dask scheduler answers \("), refused:
            pass
