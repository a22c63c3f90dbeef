"""The list of extensions that asdf writes: it comes in the order of a set, another each time."""

from __future__ import annotations

import re
from pathlib import Path

from webbalign.products._sealed_files import last_data

__all__ = ["sort_extensions"]

_LIST = re.compile(rb"(?<=\n  extensions:\n)(?:  - [^\n]*\n(?:    [^\n]*\n)*)+")
_ITEM = re.compile(rb"  - [^\n]*\n(?:    [^\n]*\n)*")


def sort_extensions(path: Path) -> None:
    """Sort the extensions named in the ASDF part of a FITS file (or in an ASDF file), in place.

    They are named for the reader's information, and stand for a set.
    """
    with open(path, "r+b") as file:
        file.seek(last_data(path))
        place, content = file.tell(), file.read()
        found = _LIST.search(content)
        if found is not None:
            file.seek(place + found.start())
            file.write(b"".join(sorted(_ITEM.findall(found[0]))))
