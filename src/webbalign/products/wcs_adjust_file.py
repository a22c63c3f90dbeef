"""The table of corrections per visit and exposure, ``{target}_wcs_adjust.toml``.

``[wcs_adjust]`` holds one table for each key, with what PJPipe reads (``shift``, ``matrix``) and
what it ignores; what concerns the run stands in ``[run]``. Numbers are written with all their
digits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.products.atomic import Seal, atomic_path
from webbalign.products.corrector import Correction
from webbalign.products.inputs import require_file
from webbalign.products.names import flat_name
from webbalign.products.visit_corrections import AdjustStatus, VisitCorrection, WcsAdjust
from webbalign.products.visits import parse_key

__all__ = [
    "AdjustStatus",
    "VisitCorrection",
    "WcsAdjust",
    "adjust_file_name",
    "read_wcs_adjust",
    "write_wcs_adjust",
]

_EXPECTED = "a wcs_adjust table: [wcs_adjust] with shift and matrix for each visit"
_TEXTS = ("status", "reason", "frame")
_LISTS = ("bands", "methods")
_COUNTS = ("n_images", "n_used", "n_pairs")
_NUMBERS = ("rms_mas", "chi2_reduced", "scatter_mas")
_ANY_NUMBER = (int, float)


def adjust_file_name(target: str) -> str:
    """Name the table of a target.

    >>> adjust_file_name("ngc1566")
    'ngc1566_wcs_adjust.toml'
    >>> adjust_file_name("../ngc1566/a")
    '_ngc1566_a_wcs_adjust.toml'
    """
    return f"{flat_name(target)}_wcs_adjust.toml"


def write_wcs_adjust(adjust: WcsAdjust, path: str | Path, recipe: Seal | None = None) -> Path:
    """Write the table, whole or not at all, with what it was made from."""
    import tomli_w

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "wcs_adjust": {str(entry.key): _table(entry) for entry in adjust.entries},
        "run": _plain(adjust.run),
    }
    with atomic_path(path, recipe) as temporary:
        temporary.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def _table(entry: VisitCorrection) -> dict[str, Any]:
    table: dict[str, Any] = {
        "shift": entry.correction.shift.tolist(),
        "matrix": entry.correction.matrix.tolist(),
        "status": str(entry.status),
        "reason": entry.reason,
        "frame": entry.frame,
        "bands": list(entry.bands),
        "methods": list(entry.methods),
        "n_images": int(entry.n_images),
        "n_used": int(entry.n_used),
        "n_pairs": int(entry.n_pairs),
        "rms_mas": float(entry.rms * 1e3),
        "chi2_reduced": float(entry.chi2_reduced),
        "scatter_mas": float(entry.scatter * 1e3),
        "cov": entry.cov.tolist(),
    }
    if entry.reference is not None:
        table["reference"] = [float(angle) for angle in entry.reference]
    return table


def _plain(value: Any) -> Any:
    """Make of a value what TOML can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value if item is not None]
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read_wcs_adjust(path: str | Path) -> WcsAdjust:
    """Read a table: ours, PJPipe's, or one that somebody has edited.

    Raises
    ------
    InputError
        If it is missing, no TOML, or an entry cannot be used; the message names it.
    """
    path = require_file(path, _EXPECTED)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(path, f"not readable as TOML ({error})", _EXPECTED) from None
    table = content.get("wcs_adjust")
    if not isinstance(table, dict):
        raise InputError(path, "no table [wcs_adjust]", _EXPECTED)
    run = content.get("run", {})
    if not isinstance(run, dict):
        raise InputError(path, f"run is {run!r}", "a table [run]")
    entries = tuple(_entry(path, key, value) for key, value in table.items())
    return WcsAdjust(entries, run)


def _entry(path: Path, text: str, table: Any) -> VisitCorrection:
    key = parse_key(text)
    if key is None:
        expected = "jw<visit> or jw<visit>_<group>_<exposure>, with _nrca or _nrcb for one module"
        raise InputError(path, f"key {text!r}", expected)
    if not isinstance(table, dict):
        raise InputError(path, f"{text}: {table!r}", "a table with shift and matrix")
    if not {"shift", "matrix"} & set(table):
        raise InputError(path, f"{text}: neither shift nor matrix", _EXPECTED)
    values: dict[str, Any] = {}
    for name in _TEXTS:
        values[name] = _kind(path, text, table, name, str, "")
    for name in _LISTS:
        words = _kind(path, text, table, name, list, [])
        values[name] = tuple(str(word) for word in words)
    for name in _COUNTS:
        values[name] = _kind(path, text, table, name, int, 0)
    rms, chi2, scatter = (
        float(_kind(path, text, table, name, _ANY_NUMBER, np.nan)) for name in _NUMBERS
    )
    try:
        status = AdjustStatus(values.pop("status") or AdjustStatus.UNKNOWN)
    except ValueError:
        found = f"{text}: status {table['status']!r}"
        raise InputError(path, found, " | ".join(AdjustStatus)) from None
    lacking = {"shift", "matrix"} - set(table)
    if lacking and "status" in table:  # PJPipe's may have one of both, ours never
        raise InputError(
            path, f"{text}: no {lacking.pop()}, though it is one of webbalign's", _EXPECTED
        )
    try:
        correction = Correction(
            _numbers(path, text, table, "matrix", (2, 2), np.eye(2)),
            _numbers(path, text, table, "shift", (2,), np.zeros(2)),
        )
    except InputError as error:
        if error.name:
            raise
        raise InputError(path, f"{text}: {error.found}", error.expected) from None
    reference = _numbers(path, text, table, "reference", (2,), np.full(2, np.nan))
    return VisitCorrection(
        key=key,
        correction=correction,
        reference=_place(path, text, reference) if "reference" in table else None,
        cov=_numbers(path, text, table, "cov", (6, 6), np.full((6, 6), np.nan)),
        status=status,
        rms=rms * 1e-3,
        chi2_reduced=chi2,
        scatter=scatter * 1e-3 if np.isfinite(scatter) else 0.0,
        **values,
    )


def _place(path: Path, text: str, sky: NDArray[np.float64]) -> tuple[float, float]:
    ra, dec = float(sky[0]), float(sky[1])
    if not (np.isfinite(ra) and -90.0 <= dec <= 90.0):
        raise InputError(path, f"{text}: reference {ra}, {dec}", "RA and Dec in degrees")
    return ra, dec


def _kind(path: Path, text: str, table: Mapping[str, Any], name: str, kind: Any, none: Any) -> Any:
    value = table.get(name, none)
    if isinstance(value, bool) or not isinstance(value, kind):
        words = {str: "a text", list: "a list", int: "a whole number", _ANY_NUMBER: "a number"}
        raise InputError(path, f"{text}.{name} is {value!r}", words[kind])
    return value


def _numbers(
    path: Path,
    text: str,
    table: Mapping[str, Any],
    name: str,
    shape: tuple[int, ...],
    none: NDArray[np.float64],
) -> NDArray[np.float64]:
    size = " x ".join(map(str, shape))
    try:
        values = np.array(table.get(name, none), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(path, f"{text}.{name} is {table[name]!r}", f"{size} numbers") from None
    if values.shape != shape:
        raise InputError(path, f"{text}.{name} is {table[name]!r}", f"{size} numbers")
    return values
