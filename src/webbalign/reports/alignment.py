"""The table that tweakreg ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from webbalign.products.solutions import Solution, SolvedImage

__all__ = ["alignment_text"]

_HEAD = (
    "image", "status", "found", "matched", "used", "rms [mas]", "shift x, y [arcsec]",
    "+- [mas]", "roll [arcsec]", "chi2",
)  # fmt: skip


def alignment_text(solution: Solution, files: Sequence[Path] = ()) -> str:
    """Write a solution as plain text, never wrapped.

    Parameters
    ----------
    solution : Solution
    files : sequence of Path
        What was written.
    """
    rows = [list(_HEAD), *(_row(image) for image in solution.images)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines += _reasons(solution.images)
    lines.append(_totals(solution))
    return "\n".join([*lines, "", *_written(files)])


def _row(image: SolvedImage) -> list[str]:
    x, y = image.correction.shift
    errors = np.sqrt(np.diag(image.cov)[4:].mean()) * 1e3
    applied = image.is_applied
    return [
        image.filename, str(image.status), str(image.n_found), str(image.n_matched),
        str(image.n_used), _number(image.rms * 1e3, ".2f"),
        f"{x:+.4f}, {y:+.4f}" if applied else "-",
        _number(errors, ".2f") if applied else "-",
        f"{image.correction.rotation * 3600:+.2f}" if applied else "-",
        _number(image.chi2_reduced, ".2f"),
    ]  # fmt: skip


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _reasons(images: Sequence[SolvedImage]) -> list[str]:
    """Name each reason once, with the images that it concerns."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for image in images:
        if image.reason:
            by_reason.setdefault((str(image.status), image.reason), []).append(image.filename)
    return [
        f"{status}: {reason} ({names[0]}{f' and {len(names) - 1} more' if names[1:] else ''})"
        for (status, reason), names in by_reason.items()
    ]


def _totals(solution: Solution) -> str:
    counts = Counter(str(image.status) for image in solution.images)
    text = ", ".join(f"{number} {status}" for status, number in counts.items())
    catalog = solution.meta.get("abs_refcat")
    if catalog:
        tied = [tie for tie in solution.meta.get("absolute", []) if tie["tied"]]
        used = sum(tie["n_used"] for tie in tied)
        of = f"{used} of {solution.meta.get('n_catalog', 0)} stars of {catalog} used"
        text += f"; {of}" if tied else f"; {catalog} was not used"
    # a group that stands alone has its reason above
    parts = [part for part in solution.meta.get("components", []) if len(part) > 1]
    if len(parts) > 1:
        text += f"; {len(parts)} parts that no star connects"
    return text


def _written(files: Sequence[Path]) -> list[str]:
    if not files:
        return ["no files written"]
    if len(files) == 1:
        return [f"written: {files[0]}"]
    last = files[-1]
    table = f"; this table: {last.name}" if last.suffix == ".ecsv" else ""  # it may be kept
    return [f"{len(files)} files written into {last.parent}{table}"]
