"""Empty figures, axes that are quick to draw, numbers as text."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["new_figure", "number", "plain_powers"]


def new_figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """Return an empty figure (inches) and its axes, as an array."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid, squeeze=False)


def plain_powers(axis: Any) -> None:
    """Label a logarithmic axis with plain text: typesetting its numbers would take longer."""
    axis.set_major_formatter(lambda value, _: _power(value))
    axis.set_minor_formatter(lambda value, _: "")


def _power(value: float) -> str:
    """Return a power of ten as text.

    >>> _power(1e-3), _power(10.0), _power(2e5)
    ('10⁻³', '10', '2·10⁵')
    """
    if 0.01 <= value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9)) if value > 0 else 0
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    mantissa = f"{value / 10.0**exponent:.3g}"
    return f"10{digits}" if mantissa == "1" else f"{mantissa}·10{digits}"


def number(value: float | None, form: str = ".3g") -> str:
    """Return a number as text; a dash for what is not known."""
    return "-" if value is None or not np.isfinite(value) else format(value, form)
