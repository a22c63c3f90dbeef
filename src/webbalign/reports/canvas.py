"""What the plots of alignments share: empty figures, colours of statuses, scales, names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["STATUS_COLORS", "draw_ellipse", "empty", "number", "round_down", "short_names"]

STATUS_COLORS = {
    "ALIGNED": "#1b7837", "REFERENCE": "black", "RELATIVE_ONLY": "#2166ac",
    "INCONSISTENT": "#e08214", "UNCHANGED": "#b2182b", "FAILED": "#b2182b", "UNKNOWN": "#2166ac",
}  # fmt: skip


def empty(
    width: float, height: float, *, left: float = 0.75, right: float = 0.2, bottom: float = 0.55,
    top: float = 0.3,
) -> tuple[Figure, Any]:  # fmt: skip
    """Return a figure (inches) and its one axis, with margins (inches)."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(box)


def round_down(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{max(k for k in (1, 2, 5) if k * power <= value * (1 + 1e-9)) * power:.3g}")


def number(value: float | None, form: str = ".3g") -> str:
    """Return a number as text; a dash for what is not known."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def short_names(names: Sequence[str]) -> list[str]:
    """Leave out the words between underscores that all names have in common, and the program.

    >>> short_names(["jw09998001001_02101_1", "jw09998001002_02101_1"])
    ['001001', '001002']
    """
    words = [name.split("_") for name in names]
    if len(set(names)) < 2 or len({len(parts) for parts in words}) > 1:
        return list(names)
    differ = [k for k, column in enumerate(zip(*words, strict=True)) if len(set(column)) > 1]
    short = ["_".join(parts[k] for k in differ) for parts in words]
    program = {name[:7] for name in short}
    return [name[7:] for name in short] if len(program) == 1 and len(short[0]) > 10 else short


def draw_ellipse(
    axis: Any, at: NDArray[np.float64], cov: NDArray[np.float64], scale: float, color: str
) -> None:
    """Draw a one-sigma ellipse of a covariance (2, 2), enlarged by `scale`."""
    from matplotlib.patches import Ellipse

    if not np.isfinite(cov).all() or not cov.any():
        return
    values, vectors = np.linalg.eigh(cov)
    width, height = 2 * scale * np.sqrt(np.maximum(values[::-1], 0.0))
    angle = math.degrees(math.atan2(vectors[1, -1], vectors[0, -1]))
    for look in ({"facecolor": color, "alpha": 0.18, "lw": 0}, {"fill": False, "ec": color}):
        axis.add_patch(Ellipse((at[0], at[1]), width, height, angle=angle, **look))
