"""Dask clusters as people run them: a scheduler and workers as processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
WORKER = ("--nthreads", "1", "--no-dashboard", "--host", LOOPBACK, "--death-timeout", "60")
ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


class Cluster:
    """A scheduler and its workers, as processes on loopback.

    Parameters
    ----------
    folder : Path
        Current folder of the processes, and where they log.
    workers : int
        Each with a nanny that starts it anew when it dies, as ``dask worker`` does it.
    words : sequence of str
        Further arguments of the commands.
    protocol : str
        ``tcp`` or ``tls``.
    installed : bool
        Whether the workers can import this checkout's tests and benchmarks.

    Attributes
    ----------
    address : str
    scheduler : subprocess.Popen
    workers : list of subprocess.Popen
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        words: tuple[str, ...] | list[str] = (),
        protocol: str = "tcp",
        installed: bool = True,
    ) -> None:
        self.folder, self.words, self.installed = folder, list(words), installed
        self.address = f"{protocol}://{LOOPBACK}:{free_port()}"
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker() for _ in range(workers)]

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler at the address."""
        protocol, _, port = self.address.partition(f"://{LOOPBACK}:")
        words = ["--host", LOOPBACK, "--port", port, "--protocol", protocol]
        return self._start("dask_scheduler", *words, "--dashboard-address", f"{LOOPBACK}:0")

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of the scheduler."""
        return self._start("dask_worker", self.address, *WORKER)

    def restart(self) -> None:
        """Start a scheduler and workers in the place of those that are there."""
        count = len(self.workers)
        self.end()
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker() for _ in range(count)]

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *words, *self.words]
        # as an installed package, the functions of the caller are known there
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | ({"PYTHONPATH": paths} if self.installed else {})
        log = (self.folder / f"{module}.log").open("a")
        with log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment
            )

    def end(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.send_signal(signal.SIGTERM)
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
