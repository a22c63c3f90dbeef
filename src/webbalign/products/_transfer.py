"""One file elsewhere: what state it is in, and how it gets here; the door to fsspec."""

from __future__ import annotations

import errno
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from webbalign.core.errors import InputError
from webbalign.products.addresses import masked, masked_text

__all__ = ["Remote", "Replaced", "State", "connect", "listed"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# What goes wrong here and not there.
_OWN_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# s between the attempts
WAITS = (1.0, 3.0)
TELL = 10.0  # s between the messages about a long download
CONNECT, READ = 30.0, 60.0  # s without an answer

# Under which the file systems tell what changes with the content of a file.
_MARKS = (
    "etag", "content-md5", "digest", "last-modified", "last_modified", "lastmodified", "mtime",
    "modified", "updated", "generation", "versionid", "md5hash", "checksum",
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """What tells one state of a file from another.

    Attributes
    ----------
    size : int or None
        Bytes; None if the server does not tell.
    marks : mapping
        Whatever the server tells that changes with the file.
    """

    size: int | None
    marks: Mapping[str, str]

    @property
    def is_certain(self) -> bool:
        """Whether size and something else are known, so that a change would show."""
        return self.size is not None and len(self.marks) > 1


class Replaced(InputError):
    """A file that became another one while it was fetched."""


class Remote:
    """A file elsewhere; written as text, it shows no password and no signature."""

    def __init__(self, address: str, system: Any, path: str) -> None:
        self.address, self._system, self._path = address, system, path

    def __str__(self) -> str:
        return masked(self.address)

    def state(self) -> State:
        """Ask in which state the file is.

        Raises
        ------
        InputError
            If it is not there, or may not be read, or there is no answer.
        """

        def ask() -> Mapping[str, Any]:
            self._system.invalidate_cache()
            found: Mapping[str, Any] = self._system.info(self._path)
            return found

        info = self._tried(ask)
        if info.get("type") == "directory":
            raise InputError(str(self), "a folder, not a file", "a file")
        size = info.get("size")
        marks = {key.lower(): str(value) for key, value in info.items() if key.lower() in _MARKS}
        return State(None if size is None else int(size), marks | {"size": str(size)})

    def fetch(self, target: Path, state: State) -> None:
        """Write the file to `target`, seen to be whole.

        Parameters
        ----------
        target : Path
        state : State
            In which it is expected to be.

        Raises
        ------
        Replaced
            If it is in another one.
        InputError
            If it cannot be had.
        OSError
            If `target` cannot be written.
        """

        def download() -> None:
            self._system.get_file(self._path, str(target), callback=_progress(self, state.size))
            found = target.stat().st_size
            if self.state() != state:
                raise Replaced(str(self), "was replaced while it was fetched", "one that stays")
            if state.size is not None and found != state.size:
                raise ConnectionError(f"{found} of {state.size} bytes came")

        self._tried(download, target)

    def _tried(self, action: Callable[[], T], target: Path | None = None) -> T:
        reason = ""
        for wait in (*WAITS, None):
            try:
                return action()
            except InputError:
                raise
            except Exception as error:  # every file system has errors of its own
                if isinstance(error, OSError) and _is_here(error, target):
                    raise
                reason, lasting = _reason(error)
            if lasting:
                break
            if wait is not None:
                log.warning("%s: %s; once more in %g s", self, reason, wait)
                time.sleep(wait)
        # (not chained: the messages of libraries show whole addresses)
        raise InputError(str(self), reason, "a file that can be read") from None


def connect(address: str) -> Remote:
    """Return a file elsewhere, by its address; nothing is asked yet.

    Raises
    ------
    InputError
        If what is needed for it is not installed, or the address is none.
    """
    try:
        import fsspec
    except ImportError:
        raise _not_installed(address) from None
    scheme = address.partition("://")[0]
    options = _options(scheme, address)
    try:
        urlsplit(address)
        system, path = fsspec.url_to_fs(address, **options)
        if scheme in ("s3", "s3a") and _is_without_credentials(system):
            # public data, as those of the mission, need none
            system, path = fsspec.url_to_fs(address, anon=True)
    except ImportError as error:
        own = scheme in ("http", "https", "s3", "s3a")
        raise _not_installed(address, _EXTRA if own else str(error)) from None
    except Exception as error:  # whatever a file system makes of a bad address
        raise InputError(masked(address), _reason(error)[0], "an address of a file") from None
    return Remote(address, system, path)


def listed(folder: str, endings: tuple[str, ...]) -> list[str]:
    """Return the addresses of the files in a folder elsewhere whose names end so, sorted.

    Raises
    ------
    InputError
        If the folder cannot be listed.
    """
    remote = connect(folder.rstrip("/") + "/")
    system = remote._system
    names = remote._tried(lambda: system.ls(remote._path.rstrip("/") + "/", detail=False))
    return sorted(
        str(system.unstrip_protocol(name)) for name in names if str(name).endswith(endings)
    )


def _options(scheme: str, address: str) -> dict[str, Any]:
    if scheme not in ("http", "https"):
        return {}
    try:
        import aiohttp
    except ImportError:
        raise _not_installed(address) from None
    # aiohttp ends every download after five minutes unless told otherwise
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)
    return {
        "client_kwargs": {"timeout": limits, "trust_env": True},
        # an address with % in it (a signed one) is to be sent as it is
        "encoded": "%" in address,
    }


def _is_without_credentials(system: Any) -> bool:
    return not (system.anon or system.key or system.token) and not _has_credentials()


@functools.cache
def _has_credentials() -> bool:
    """Whether this user or machine has credentials for S3 (outside a cloud this takes seconds)."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None


_EXTRA = "pip install 'webbalign[cloud]'"


def _not_installed(address: str, needed: str = _EXTRA) -> InputError:
    return InputError(
        masked(address), "what reads such an address is not installed", f"it after: {needed}"
    )


def _is_here(error: OSError, target: Path | None) -> bool:
    """Whether an error is one of writing the file here."""
    return target is not None and (error.errno in _OWN_ERRORS or error.filename == str(target))


def _reason(error: BaseException) -> tuple[str, bool]:
    """Say what happened, and whether it will happen again."""
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)
    if status in (401, 403):
        return f"access denied (HTTP status {status})", True
    if status in (404, 410):
        return "no such file", True
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
        return f"HTTP status {status}", True
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return "access denied", True
    # (that of HTTP says so of whatever went wrong)
    if isinstance(error, FileNotFoundError) and not _is_of_http(cause):
        return "no such file", True
    lines = masked_text(str(cause)).strip().splitlines()
    return f"not to be had ({lines[0] if lines else type(cause).__name__})", False


def _is_of_http(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "aiohttp" or isinstance(error, TimeoutError)


def _progress(remote: Remote, size: int | None) -> Any:
    from fsspec.callbacks import Callback

    class Told(Callback):
        """Tells now and then how far a download is."""

        said = time.monotonic()

        def call(self, *args: Any, **kwargs: Any) -> None:
            now = time.monotonic()
            if now - self.said >= TELL:
                self.said = now
                of = "" if size is None else f" of {size / 1e6:.0f}"
                log.info("fetching %s: %.0f%s MB so far", remote, self.value / 1e6, of)

    return Told()
