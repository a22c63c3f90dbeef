"""Reading users' tables: any format that astropy knows, columns in any case, clear messages."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.products.inputs import require_file

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["column", "is_known", "numbers", "read_table"]


def read_table(path: Path, expected: str) -> Table:
    """Read a table in any format that astropy recognises by name or content, or as text.

    Parameters
    ----------
    path : Path
    expected : str
        What should be there, for messages.

    Raises
    ------
    InputError
        If the file is missing or no table.
    """
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    require_file(path, expected)
    try:
        with warnings.catch_warnings():
            # units that astropy does not know, several tables in one file, masked columns
            warnings.simplefilter("ignore")
            try:
                return Table.read(path)
            except IORegistryError:
                return Table.read(path, format="ascii")
    except Exception as error:  # every reader has errors of its own
        lines = str(error).strip().splitlines()
        words = lines[0] if lines else type(error).__name__
        raise InputError(path, f"not readable as a table ({words})", expected) from None


def column(table: Table, *names: str) -> str | None:
    """Return the first of some columns that a table has, whatever its case; None without any."""
    for name in names:
        if name in table.colnames:
            return name
        found = [known for known in table.colnames if known.lower() == name.lower()]
        if found:
            return str(found[0])
    return None


def numbers(path: Path, table: Table, name: str, unit: str | None = None) -> NDArray[np.float64]:
    """Return a column as numbers; NaN where it is masked.

    Parameters
    ----------
    path : Path
        For messages.
    table : Table
    name : str
        An existing column.
    unit : str, optional
        A column that has a unit is converted to this one.

    Raises
    ------
    InputError
        If the column holds something else, or has a unit that cannot be converted.
    """
    from astropy import units

    values = table[name]
    try:
        if unit is not None and getattr(values, "unit", None) is not None:
            factor = float(units.Unit(values.unit).to(unit))
        else:
            factor = 1.0
        plain = np.ma.asarray(getattr(values, "value", values))
        array = np.ma.filled(plain.astype(np.float64), np.nan)
    except (units.UnitConversionError, TypeError, ValueError) as error:
        raise InputError(path, f"column {name}: {error}", f"numbers ({unit or 'any'})") from None
    if array.ndim != 1:
        raise InputError(path, f"column {name} has {array.ndim - 1} values a row", "one")
    result: NDArray[np.float64] = array * factor
    return result


def is_known(value: float) -> bool:
    """Whether a value is a positive number."""
    return math.isfinite(value) and value > 0
