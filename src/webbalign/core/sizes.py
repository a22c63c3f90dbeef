"""Amounts of memory as people write them: ``2GB``, ``500 MB``, ``1.5GiB``."""

from __future__ import annotations

import math
import re

from webbalign.core.errors import OptionError

__all__ = ["parse_bytes"]

_PREFIXES = "kmgt"
_TEXT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(i?)b?|b)", re.IGNORECASE)


def parse_bytes(value: str | int, name: str = "memory") -> int:
    """Return an amount of memory in bytes.

    Parameters
    ----------
    value : str or int
        A number and its unit: B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024);
        the B may be left out, upper and lower case are the same. An integer counts bytes.
    name : str
        Of the option, for the message.

    Raises
    ------
    OptionError
        If it is neither, or not positive.

    Examples
    --------
    >>> parse_bytes("2GB"), parse_bytes("1.5 GiB"), parse_bytes("500m")
    (2000000000, 1610612736, 500000000)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise _refused(name, value)
        number, prefix, binary = match.groups()
        power = _PREFIXES.index(prefix.lower()) + 1 if prefix else 0
        size = math.floor(float(number) * (1024 if binary else 1000) ** power)
    if size < 1:
        raise _refused(name, value)
    return size


def _refused(name: str, value: object) -> OptionError:
    return OptionError(
        f"option {name!r} is {value!r} - give an amount of memory with its unit, such as 2GB, "
        "500MB or 1.5GiB"
    )
