"""Files elsewhere (``https://``, ``s3://``, ...), read through a cache on this machine.

:func:`local` is the door: it takes a name as a user wrote it and returns the path of a file here.
Everything behind it knows paths only. The cache lies under ``XDG_CACHE_HOME/webbalign/remote``,
in a folder for each address and, in it, one for each state of the file (its ETag, size, time of
change): what has changed is fetched anew, what has not is not. Files appear in it whole or not at
all. fsspec (the extra ``cloud``) is imported when the first address comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from webbalign.core.errors import InputError
from webbalign.products._transfer import Remote, Replaced, State, connect, listed
from webbalign.products.addresses import (
    base_name,
    is_address,
    joined,
    masked,
    without_access,
    written_address,
)
from webbalign.products.atomic import atomic_path, sweep
from webbalign.products.cache import cache_folder

__all__ = [
    "FILE_OPTIONS",
    "all_local",
    "beside",
    "images_elsewhere",
    "local",
    "names_image",
    "shown",
    "with_files_here",
]

log = logging.getLogger(__name__)

#: Options of some steps that name a file, which may lie elsewhere.
FILE_OPTIONS = ("override_psfmask", "abs_refcat", "catfile", "output_wcs")

_ORIGIN = ".origin"  # file with the address, beside what was fetched
_IMAGES = (".fits", ".fits.gz")
TOGETHER = 4  # files fetched at a time: one connection rarely fills the line
ATTEMPTS = 3  # at a file that is replaced while it is fetched
OLD = 86400.0  # s after which a former state of a file is read by no run any more

# What a query holds that changes with every signing, though the file is the same.
_SIGNATURES = ("x-amz-", "x-goog-", "signature", "expires", "awsaccesskeyid", "googleaccessid",
               "key-pair-id", "policy", "token", "access_token")  # fmt: skip
_SHARED_ACCESS = {"sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sktid", "ske", "skt"}

_origins: dict[Path, str] = {}
_lock = threading.Lock()


def local(name: str | Path) -> Path:
    """Return the path under which a file can be read here; an address is fetched.

    Raises
    ------
    InputError
        If the file cannot be had: what happened, under its address without passwords and
        signatures; or that fsspec is not installed.
    """
    if not is_address(name):
        return Path(name)
    address = written_address(name)
    path = _fetched(address)
    with _lock:
        _origins[path] = address
    return path


def _origin(file: str | Path) -> str | None:
    """Return the address of a file that was fetched, by this process or another one."""
    path = Path(file)
    if path not in _origins:
        if folder() not in path.parents:
            return None
        with contextlib.suppress(OSError):
            _origins[path] = (path.parent / _ORIGIN).read_text(encoding="utf-8")
    return _origins.get(path)


def all_local(names: Iterable[str | Path]) -> list[Path]:
    """Return the paths of several files; those elsewhere are fetched a few at a time.

    Raises
    ------
    InputError
        As :func:`local`, of the first that fails.
    """
    names = list(names)
    if not any(map(is_address, names)):
        return [Path(name) for name in names]
    begun = time.monotonic()
    with ThreadPoolExecutor(TOGETHER, thread_name_prefix="webbalign-fetch") as pool:
        futures = [pool.submit(local, name) for name in names]
        try:
            paths = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    sizes = [
        path.stat().st_size for path, name in zip(paths, names, strict=True) if is_address(name)
    ]
    log.info(
        "%d files (%.1f MB) from elsewhere ready after %.1f s; the cache %s holds %.1f MB",
        len(sizes), sum(sizes) / 1e6, time.monotonic() - begun, folder(), held() / 1e6,
    )  # fmt: skip
    return paths


def beside(file: str | Path, name: str) -> str | Path:
    """Return a file that another one names: its address, or its path.

    Parameters
    ----------
    file : str or Path
        The file in which the name stands; it may have come from elsewhere.
    name : str
        An address, a path, or a name relative to that file.
    """
    if is_address(name):
        return written_address(name)
    origin = written_address(file) if is_address(file) else _origin(file)
    return Path(file).parent / name if origin is None else joined(origin, name)


def with_files_here(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options, those fetched that name a file by an address."""
    here = {
        name: str(local(options[name])) for name in FILE_OPTIONS if is_address(options.get(name))
    }
    return {**options, **here}


def shown(name: Any) -> str:
    """Write a file name (or any value) as it may be shown: an address without what opens it.

    The path of a fetched file is shown as its address.
    """
    return masked(_origin(name) or name) if isinstance(name, str | Path) else str(name)


def folder() -> Path:
    """Return the folder of the cache."""
    return cache_folder() / "remote"


def held() -> int:
    """Return the bytes that the cache holds."""
    return sum(path.stat().st_size for path in folder().glob("*/*/*") if path.is_file())


def names_image(address: str | Path) -> bool:
    """Whether an address is that of a FITS file, and not of a folder."""
    return base_name(written_address(address)).endswith(_IMAGES)


def images_elsewhere(address: str | Path) -> list[Path]:
    """Fetch the images (``*_cal.fits``, also packed) of a folder elsewhere, by name.

    Raises
    ------
    InputError
        If the folder cannot be listed, or there is none in it.
    """
    found = listed(written_address(address), tuple(f"_cal{ending}" for ending in _IMAGES))
    if not found:
        raise InputError(masked(address), "no *_cal.fits in it", "a folder with _cal.fits files")
    return sorted(all_local(found), key=lambda path: path.name)


# One file -------------------------------------------------------------------------------------


def _fetched(address: str) -> Path:
    remote = connect(address)
    place = folder() / _digest(_without_signature(address))
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(place / ".lock"):
        for attempt in range(ATTEMPTS):
            state = remote.state()
            marks = json.dumps(state.marks, sort_keys=True)
            final = place / _digest(marks) / base_name(address)
            # a state that nothing tells apart from another one is fetched by every process
            known = state.is_certain or final in _origins
            if known and final.is_file() and final.stat().st_size == state.size:
                log.debug("%s: from the cache", remote)
                return final
            try:
                _download(remote, final, state)
                break
            except Replaced:
                if attempt == ATTEMPTS - 1:
                    raise
        _forget_former(place, final.parent)
    return final


def _download(remote: Remote, final: Path, state: State) -> None:
    begun = time.monotonic()
    sweep(final.parent)
    try:
        with atomic_path(final) as temporary:
            remote.fetch(temporary, state)
        with atomic_path(final.parent / _ORIGIN) as temporary:
            # for other processes, without what opens it: this is kept
            temporary.write_text(without_access(remote.address), encoding="utf-8")
    except OSError as error:
        words = error.strerror or type(error).__name__
        found = f"{final.name} cannot be written ({words})"
        raise InputError(folder(), found, "it room, or another XDG_CACHE_HOME") from None
    size, seconds = final.stat().st_size / 1e6, time.monotonic() - begun
    log.info("fetched %s: %.1f MB in %.1f s", remote, size, seconds)


def _forget_former(place: Path, current: Path) -> None:
    """Remove former states of a file, but not those that a run may still be reading."""
    for state in place.iterdir():
        if state.is_dir() and state != current and time.time() - state.stat().st_mtime > OLD:
            shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process (and thread) at a time do something; others wait for it.

    Where the file system has no locks they may fetch the same file twice, which does no harm.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _without_signature(address: str) -> str:
    parts = urlsplit(address)
    kept = [
        (key, value)
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
        if not key.lower().startswith(_SIGNATURES) and key.lower() not in _SHARED_ACCESS
    ]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept), ""))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
