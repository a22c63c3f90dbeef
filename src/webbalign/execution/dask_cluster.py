"""A dask cluster: one that is running, or one of processes on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from webbalign.execution.contract import ExecutorError, name_of
from webbalign.execution.fresh_processes import ctrl_c_later
from webbalign.execution.local import PoolExecutor
from webbalign.execution.memory import workers_within
from webbalign.execution.worker import Call, Outcome

__all__ = ["DaskExecutor", "TlsFiles"]

LOOPBACK = "127.0.0.1"
# Seconds within which a scheduler has to answer.
PATIENCE = 10.0
# ... and its first worker come, which may wait in the queue of a batch system.
WORKER_PATIENCE = 300.0


@dataclass(frozen=True)
class TlsFiles:
    """Files (PEM) for an encrypted connection to a scheduler.

    Attributes
    ----------
    ca : str, optional
        The authority that has signed the certificate of the scheduler.
    cert, key : str, optional
        Our own certificate, and its key.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.cert, self.key))

    def check(self) -> None:
        """Raise ExecutorError if a file is missing, or not named."""
        from pathlib import Path

        words = {"ca": self.ca, "cert": self.cert, "key": self.key}
        for word, name in words.items():
            if not name:
                raise ExecutorError(
                    f"--dask-tls-{word} is missing - give ca, cert and key, which TLS needs"
                )
            if not Path(name).is_file():
                raise ExecutorError(
                    f"no such file - {name} - give --dask-tls-{word} a file that exists"
                )


class DaskExecutor(PoolExecutor):
    """A dask cluster: a client's, the one at an address, else one of processes on this machine.

    Parameters
    ----------
    workers : int, optional
        Processes of the cluster on this machine; of a running one all are used.
    address : str, optional
        Of a scheduler, such as ``tcp://host:8786``; by default the one that dask is configured
        for (``DASK_SCHEDULER_ADDRESS``).
    tls : TlsFiles, optional
        For ``tls://host:8786``.
    client : distributed.Client, optional
        Somebody's; it is used and not closed.
    """

    name = "dask"
    # what a scheduler holds back costs it little, and workers of several threads stay fed
    _ahead = 3

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        tls: TlsFiles | None = None,
        client: Any = None,
    ) -> None:
        super().__init__(workers_within() if workers is None else workers)
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise ExecutorError(
                "the executor 'dask' needs dask, which is not installed - "
                "install it with: pip install 'webbalign[dask]'"
            ) from error
        self.address = address
        self.tls = tls or TlsFiles()
        self._client = client
        if self.tls:
            self.tls.check()
            if address is not None and not address.startswith("tls://"):
                raise ExecutorError(
                    f"TLS is asked for - {address} - give an address tls://host:port"
                )

    def _start(self) -> None:
        self._resources.callback(self._forget_pool)
        client = self._client
        if client is None:
            client = self._connect()
        elif getattr(client, "asynchronous", False):
            raise ExecutorError("the dask client is asynchronous - give one that is not")
        self.address = client.scheduler.address if client.scheduler else self.address
        self._pool = client
        self.workers = max(1, sum(client.nthreads().values()))

    def _connect(self) -> Any:
        import dask
        from distributed import Client

        self._resources.enter_context(_silent())
        address = self.address or dask.config.get("scheduler-address", None)
        if address is None:
            address = self._resources.enter_context(_local_cluster(self.workers))
        security = _security(self.tls)
        with _as_our_error(address):
            _knock(address, security)
            client = Client(address, set_as_default=False, timeout=PATIENCE, security=security)
        self._resources.enter_context(client)
        if not client.nthreads():
            with _as_our_error(address, "no worker has come to the scheduler"):
                client.wait_for_workers(1, timeout=WORKER_PATIENCE)
        return client

    def _submit(self, call: Call[Any, Any], item: Any) -> Any:
        # dask would give equal calls one result; a map calls once per item
        return item, self._pool.submit(call, item, pure=False)

    def _cancel(self, task: Any) -> None:
        task[1].cancel()

    def _first_outcome(self, pending: deque[Any]) -> Outcome[Any]:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        item, future = pending.popleft()
        try:
            return cast(Outcome[Any], future.result())
        except KilledWorker as error:
            text = (
                "the dask workers that worked on it were killed, "
                f"{error.allowed_failures + 1} of them one after the other - {name_of(item)} - "
                "give them more memory, the lack of which is the usual cause"
            )
            return Outcome(error=ExecutorError(text))
        except (CancelledError, OSError) as error:
            raise self._scheduler_gone() from error
        except Exception as error:  # those of the work itself come as outcomes
            raise ExecutorError(
                f"the dask cluster cannot do the work ({' '.join(str(error).split())}) - "
                f"{self.address} - install the same versions of webbalign and Python where its "
                "scheduler and workers run"
            ) from error

    def _scheduler_gone(self) -> ExecutorError:
        return ExecutorError(
            f"the dask scheduler has gone - {self.address} - run it again, with --resume, when it "
            "is back: what is finished stays"
        )


def _local_cluster(workers: int) -> Any:
    """Make a cluster that listens nowhere but on this machine's loopback address."""
    from multiprocessing import resource_tracker

    from distributed import LocalCluster

    # if it were started within the block, it would end that for its thread
    resource_tracker.ensure_running()
    # the thread that starts the workers, now and after a death, is made within the block, and hands
    # on to them that Ctrl-C is held back
    with ctrl_c_later():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs="CRITICAL",
        )


def _knock(address: Any, security: Any) -> None:
    """See that a scheduler answers: a client that cannot connect takes long to give up.

    Raises
    ------
    OSError, TypeError, ValueError
        If none does, or not with this encryption.
    """
    if not isinstance(address, str):
        return  # a cluster of our own
    import asyncio

    from distributed.comm.core import connect
    from distributed.security import Security

    arguments = (security or Security()).get_connection_args("client")

    async def knock() -> None:
        comm = await connect(address, timeout=PATIENCE, **arguments)
        await comm.close()

    asyncio.run(knock())


@contextmanager
def _silent() -> Iterator[None]:
    """Keep dask from logging with tracebacks what is told as one error of ours."""
    import logging

    known = [name for name in logging.Logger.manager.loggerDict if name.startswith("distributed")]
    before = {name: logging.getLogger(name).level for name in known}
    for name in known:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _security(tls: TlsFiles) -> Any:
    if not tls:
        return None  # what dask is configured for
    from distributed.security import Security

    return Security(
        tls_ca_file=tls.ca,
        tls_client_cert=tls.cert,
        tls_client_key=tls.key,
        require_encryption=True,
    )


@contextmanager
def _as_our_error(address: Any, found: str = "no dask scheduler answers") -> Iterator[None]:
    """Turn what a connection fails with into an ExecutorError that names the address."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ExecutorError(
            f"{found} ({text}) - {address} - see that it runs and can be reached from here"
        ) from error
