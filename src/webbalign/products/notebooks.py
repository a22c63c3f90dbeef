"""How results look in a notebook: plain tables, in which text from files is text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["html_list", "html_table"]

# a notebook keeps what it shows; the results themselves have all rows
MOST_ROWS = 50


def html_table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], note: str = ""
) -> str:
    """Return a table as HTML for ``_repr_html_``.

    Parameters
    ----------
    caption : str
    head : sequence of str
    rows : sequence of sequences
        Text, numbers, or None for what is not known; the first cell names the row. Rows beyond
        the first 50 are counted.
    note : str
        Below it.

    >>> html_table("a", ["x"], [["<b>"]])
    '<table><caption>a</caption><thead><tr><th>x</th></tr></thead><tbody><tr><th>&lt;b&gt;</th></tr></tbody></table>'
    """
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows[:MOST_ROWS])
    more = len(rows) - MOST_ROWS
    below = " ".join(filter(None, [f"{more} more rows." if more > 0 else "", note]))
    table = (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
    return f"{table}<p>{escape(below)}</p>" if below else table


def html_list(title: str, items: Sequence[Any]) -> str:
    """Return a list that is folded away as HTML."""
    inner = "".join(f"<li>{escape(str(item))}</li>" for item in items)
    return f"<details><summary>{escape(title)}</summary><ul>{inner}</ul></details>"


def _cells(row: Sequence[Any]) -> str:
    first, *others = (escape(_text(cell)) for cell in row)
    return f"<th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in others)


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
