"""Addresses of files elsewhere, and how they are shown: never with what gives access to them."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

__all__ = ["base_name", "is_address", "joined", "masked", "masked_text", "without_access",
           "written_address"]  # fmt: skip

# Services of which a file is had by its address alone. Others that fsspec knows (chains of file
# systems, reference sets, the file systems of a scheduler) interpret content and could run code.
SCHEMES = (
    "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "hf",
    "hdfs", "webhdfs", "ftp", "sftp", "ssh",
)  # fmt: skip

# (a Path has one slash left of the two)
_ADDRESS = re.compile(rf"^({'|'.join(SCHEMES)}):/+(?=[^/])", re.IGNORECASE)
_IN_TEXT = re.compile(rf"\b(?:{'|'.join(SCHEMES)})://?[^\s'\"<>,;)\]}}]+", re.IGNORECASE)
_UNUSUAL = re.compile(r"[^A-Za-z0-9._+-]")
# MAST names the file here; all else that stands in a query may be a signature or a key
_SHOWN_IN_QUERY = ("uri",)


def is_address(name: object) -> bool:
    """Whether a file name is the address of a file elsewhere.

    >>> is_address("s3://bucket/x_asn.json"), is_address("data/x_asn.json")
    (True, False)
    """
    return isinstance(name, str | Path) and _ADDRESS.match(os.fspath(name)) is not None


def written_address(name: str | Path) -> str:
    """Return an address as it was before it became a Path, its scheme in small letters."""
    return _ADDRESS.sub(lambda match: f"{match[1].lower()}://", os.fspath(name), count=1)


def masked(name: str | Path) -> str:
    """Return an address without user, password and query; any other name as it is.

    >>> masked("https://me:secret@host.org/a/x.fits?X-Amz-Signature=1f2e")
    'https://host.org/a/x.fits?...'
    """
    if not is_address(name):
        return str(name)
    address = written_address(name)
    try:
        parts = urlsplit(address)
        told = [(k, v) for k, v in parse_qsl(parts.query) if k.lower() in _SHOWN_IN_QUERY]
    except ValueError:  # a bracket too many
        return f"{address.partition('://')[0]}://..."
    query = "&".join(f"{key}={value}" for key, value in told)
    if len(parse_qsl(parts.query)) > len(told) or (parts.query and not told):
        query = f"{query}&..." if query else "..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def without_access(address: str) -> str:
    """Return an address without user, password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def masked_text(text: str) -> str:
    """Mask all addresses within a text (a message of a library, say)."""
    return _IN_TEXT.sub(lambda match: masked(match[0]), text) if ":/" in text else text


def joined(base: str, name: str) -> str:
    """Return the address of a file that is named relative to another one.

    Parameters
    ----------
    base : str
        Address of the file in which the name stands. Its query is not taken over.
    name : str
        ``x.fits``, ``../y/x.fits``; with ``/`` in front it begins at the host (or bucket).

    >>> joined("s3://bucket/a/b/x_asn.json", "../c/y.fits")
    's3://bucket/a/c/y.fits'
    """
    parts = urlsplit(base)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(parts.path) or "/", name))
    return f"{parts.scheme}://{parts.netloc}/{path.lstrip('/')}"


def base_name(address: str) -> str:
    """Return the name that a file has here: letters, digits and ``._+-`` of its own name.

    >>> base_name("https://mast.org/api/file?uri=mast:JWST/product/jw1_calints.fits")
    'jw1_calints.fits'
    >>> base_name("https://host.org/a/..%2F..%2Fevil name.fits?key=1")
    'evil_name.fits'
    """
    parts = urlsplit(address)
    name = _last(parts.path)
    if "." not in name:
        told = (_last(value) for _, value in parse_qsl(parts.query))
        name = next((other for other in told if "." in other), name)
    return _UNUSUAL.sub("_", name).lstrip(".")[-200:] or "file"


def _last(path: str) -> str:
    return re.split(r"[/\\:]", unquote(path).rstrip("/\\"))[-1]
