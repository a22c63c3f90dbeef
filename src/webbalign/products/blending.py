"""One header for an image made of several exposures, and a table of all their headers.

Which keyword is combined how (minimum of the start times, sum of the exposure times, ...) and
which goes into the table is said by the schema of the data models; what has no rule is taken from
the first exposure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from stdatamodels.jwst.datamodels import JwstDataModel
from stdatamodels.schema import walk_schema

from webbalign.products.models import add_extension

__all__ = ["blend_headers", "header_table"]


class _Keyword(NamedTuple):
    path: str
    name: str
    rule: str
    in_table: bool


def _multi(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else "MULTIPLE"


_RULES: dict[str, Callable[[list[Any]], Any]] = {
    "first": lambda values: values[0],
    "max": max,
    "maxdate": max,
    "maxdatetime": max,
    "maxtime": max,
    "mean": lambda values: float(np.mean(values)),
    "min": min,
    "mindate": min,
    "mindatetime": min,
    "mintime": min,
    "multi": _multi,
    "sum": sum,
}

# About one exposure or one detector image; the combined image has its own or none.
_OWN = (
    "meta.filename",
    "meta.date",
    "meta.model_type",
    "meta.wcsinfo",
    "meta.photometry.pixelarea",
)


def blend_headers(result: JwstDataModel, exposures: Sequence[JwstDataModel]) -> None:
    """Set the metadata of `result` from those of the exposures, and add the HDRTAB extension."""
    headers = [exposure.to_flat_dict(include_arrays=False) for exposure in exposures]
    keywords = _keywords(exposures[0])
    by_path = {keyword.path: keyword for keyword in keywords}
    for path, value in headers[0].items():
        if not path.startswith("meta.") or path.startswith(_OWN):
            continue
        rule = by_path[path].rule if path in by_path else "first"
        values = [header[path] for header in headers if path in header]
        _set(result, path, _RULES.get(rule, _RULES["first"])(values) if path in by_path else value)
    add_extension(result, "HDRTAB", header_table(exposures))


def header_table(exposures: Sequence[JwstDataModel]) -> np.ndarray:
    """Make the table of headers: one row per exposure, one column per keyword of the schema."""
    headers = [exposure.to_flat_dict(include_arrays=False) for exposure in exposures]
    columns = {}
    for keyword in _keywords(exposures[0]):
        values = [header.get(keyword.path) for header in headers]
        if keyword.in_table and any(value is not None for value in values):
            columns[keyword.name] = _column(values)
    table = np.empty(len(headers), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _column(values: list[Any]) -> np.ndarray:
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present) and len(present) == len(values):
        return np.array(values, dtype=bool)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    texts = ["" if value is None else str(value) for value in values]
    return np.array([text.encode("ascii", "replace") for text in texts])


def _keywords(model: JwstDataModel) -> list[_Keyword]:
    found: list[_Keyword] = []

    def visit(schema: dict[str, Any], path: list[Any], *_: Any) -> None:
        if "fits_keyword" in schema and not any(isinstance(part, int) for part in path):
            found.append(
                _Keyword(
                    ".".join(path),
                    schema["fits_keyword"],
                    schema.get("blend_rule", "first"),
                    bool(schema.get("blend_table", False)),
                )
            )

    walk_schema(model.schema, visit)
    return found


def _set(model: JwstDataModel, path: str, value: Any) -> None:
    node = model._instance
    *parents, last = path.split(".")
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
