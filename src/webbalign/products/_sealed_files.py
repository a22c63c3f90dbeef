"""Where the provenance of a file stands, by the kind of file.

FITS
    Keyword WEBBPROV in the header of the last extension. That is ASDF in products of JWST, the one
    header that stdatamodels' hash of all headers does not cover: in any other, or in an extension
    of its own, all headers would be read anew whenever the product is opened.
PNG
    A tEXt chunk before the last chunk.
Text (ECSV, TOML)
    The last line, a comment.
NPZ
    The comment of the archive, at its end.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "Part", "can_be_sealed", "is_whole", "last_data", "parts_of", "read_text", "write_text",
]  # fmt: skip

KEYWORD = "WEBBPROV"
_BLOCK = 2880  # FITS files consist of blocks of this size
_CARD = 80
_LINE = b"# webbalign provenance: "
_CHUNK = b"webbalign\0"
_PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
# more than the provenance of any text file
_LONGEST_LINE = 1 << 20
# the last record of an archive: up to the length of the comment, which is the last thing in it
_ARCHIVE_END, _TO_COMMENT, _LONGEST_COMMENT = b"PK\5\6", 20, 0xFFFF

_KINDS = {".fits": "fits", ".png": "png", ".ecsv": "text", ".toml": "text", ".npz": "zip"}

Part = bytes | tuple[int, int]
"""A piece of a file: the bytes themselves, or (start, length)."""


def can_be_sealed(path: Path) -> bool:
    """Whether there is a place for the provenance in files of this kind."""
    return _kind(path) != ""


def parts_of(path: Path) -> list[Part]:
    """Return the pieces of a file but for its provenance."""
    size = path.stat().st_size
    kind = _kind(path)
    if kind == "fits":
        found = _last_header(path)
        if found is not None:
            start, cards, end = found
            kept = b"".join(card for card in cards if not _is_ours(card))
            return [(0, start), kept, (end, size - end)]
    elif kind:
        start, _ = _tail(path, kind)
        return [(0, start)]
    return [(0, size)]


def last_data(path: Path) -> int:
    """Return where the data of the last extension of a FITS file begin; 0 in other files."""
    found = _last_header(path)
    return 0 if found is None else found[2]


def is_whole(path: Path) -> bool:
    """Whether a file ends where it says (True where it does not say)."""
    if _kind(path) != "fits":
        return True
    with open(path, "rb") as file:
        place, size = 0, path.stat().st_size
        while place < size:
            header = _header_at(file, place)
            if header is None:
                return False
            place += len(header) + _data_size(header)
    return place == size


def read_text(path: Path) -> str | None:
    """Return the provenance of a file as it is written there; None without one."""
    kind = _kind(path)
    if kind == "fits":
        found = _last_header(path)
        ours = [] if found is None else [card for card in found[1] if _is_ours(card)]
        return _text_of(ours) if ours else None
    return _tail(path, kind)[1] if kind else None


def write_text(path: Path, text: str) -> None:
    """Write the provenance into a file, instead of the one that it may have.

    Parameters
    ----------
    path : Path
        Of a kind for which :func:`can_be_sealed`. In an archive there is room for 64 kB; it gets
        none if there is more.
    text : str
        ASCII, without line breaks.

    Raises
    ------
    ValueError
        If the file is none of that kind.
    """
    kind = _kind(path)
    if kind == "fits":
        _write_fits(path, text)
    elif kind == "png":
        body = b"tEXt" + _CHUNK + text.encode("ascii")
        length = struct.pack(">I", len(body) - 4)
        _replace_tail(path, kind, length + body + struct.pack(">I", zlib.crc32(body)) + _PNG_END)
    elif kind == "text":
        _replace_tail(path, kind, _LINE + text.encode("ascii") + b"\n")
    elif kind == "zip":
        comment = text.encode("ascii") if len(text) <= _LONGEST_COMMENT else b""
        _replace_tail(path, kind, struct.pack("<H", len(comment)) + comment)
    else:
        raise ValueError(f"{path}: no place for the provenance in a file of this kind")


def _kind(path: Path) -> str:
    return _KINDS.get(path.suffix, "")


# FITS --------------------------------------------------------------------------------------------


def _last_header(path: Path) -> tuple[int, list[bytes], int] | None:
    """Return where the last header begins, its cards up to END, and where its data begin."""
    with open(path, "rb") as file:
        place, last = 0, None
        while (header := _header_at(file, place)) is not None:
            last = place, header
            place += len(header) + _data_size(header)
    if last is None:
        return None
    start, header = last
    return start, _cards(header), start + len(header)


def _header_at(file: BinaryIO, place: int) -> bytes | None:
    """Return the header, blocks and all, that begins at a place; None if there is none."""
    file.seek(place)
    header = b""
    while True:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or (not header and block[:8] not in (b"SIMPLE  ", b"XTENSION")):
            return None
        header += block
        if any(block.startswith(b"END     ", at) for at in range(0, _BLOCK, _CARD)):
            return header


def _cards(header: bytes) -> list[bytes]:
    cards = [header[at : at + _CARD] for at in range(0, len(header), _CARD)]
    return cards[: next(i for i, card in enumerate(cards) if card.startswith(b"END     "))]


_SIZES = re.compile(rb"^(BITPIX  |NAXIS\d* *|PCOUNT  |GCOUNT  )= +(-?\d+)")


def _data_size(header: bytes) -> int:
    """Return the bytes that follow a header, blocks and all."""
    found = {}
    for card in _cards(header):
        if matched := _SIZES.match(card):
            found[matched[1].strip().decode()] = int(matched[2])
    count = 1 if found.get("NAXIS") else 0
    for axis in range(1, found.get("NAXIS", 0) + 1):
        count *= found.get(f"NAXIS{axis}", 0)
    count += found.get("PCOUNT", 0)
    size = abs(found.get("BITPIX", 8)) // 8 * found.get("GCOUNT", 1) * count
    return size + -size % _BLOCK


def _is_ours(card: bytes) -> bool:
    # a text that is continued follows its keyword, and ours is the last of all
    return card.startswith((KEYWORD.encode(), b"CONTINUE"))


def _text_of(cards: list[bytes]) -> str | None:
    from astropy.io import fits

    try:
        return str(fits.Card.fromstring(b"".join(cards)).value)
    except (fits.VerifyError, ValueError):
        return None


def _write_fits(path: Path, text: str) -> None:
    from astropy.io import fits

    found = _last_header(path)
    if found is None:
        raise ValueError(f"{path}: no FITS file")
    start, cards, end = found
    kept = [card for card in cards if not _is_ours(card)]
    header = b"".join(kept) + str(fits.Card(KEYWORD, text)).encode("ascii") + b"END".ljust(_CARD)
    header += b" " * (-len(header) % _BLOCK)
    with open(path, "r+b") as file:
        file.seek(end)
        data = file.read()  # of the ASDF extension: some 100 kB
        file.seek(start)
        file.write(header + data)
        file.truncate()


# PNG, text, archives -----------------------------------------------------------------------------


def _tail(path: Path, kind: str) -> tuple[int, str | None]:
    """Return where the provenance begins (or the end is), and its text."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - _LONGEST_LINE))
        first, end = file.tell(), file.read()
    if kind == "text":
        at = end.rfind(b"\n" + _LINE) + 1 if not end.startswith(_LINE) else 0
        line = end[at:]
        if not line.startswith(_LINE) or not line.endswith(b"\n") or line.count(b"\n") > 1:
            return size, None
        return first + at, line[len(_LINE) : -1].decode("ascii", "replace")
    if kind == "zip":
        at = end.rfind(_ARCHIVE_END)
        if at < 0:
            return size, None
        at += _TO_COMMENT
        return first + at, end[at + 2 :].decode("ascii", "replace") or None
    at = end.rfind(b"tEXt" + _CHUNK) - 4
    if at < 0 or not end.endswith(_PNG_END):
        return size - (len(_PNG_END) if end.endswith(_PNG_END) else 0), None
    text = end[at + 8 + len(_CHUNK) : -len(_PNG_END) - 4]
    return first + at, text.decode("ascii", "replace")


def _replace_tail(path: Path, kind: str, tail: bytes) -> None:
    start, _ = _tail(path, kind)
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(tail)
        file.truncate()
