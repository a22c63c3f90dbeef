"""How well the groups of an alignment agree with one another and with the reference catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from webbalign.products.solved_stars import CatalogTable
from webbalign.reports.alignment_plots import to_the_left
from webbalign.reports.canvas import empty
from webbalign.reports.page import Plot

__all__ = ["plot_catalog", "plot_closures"]


def plot_closures(
    closures: Sequence[Mapping[str, Any]], prefix: str = "", *, stars: bool = True
) -> Plot | None:
    """Draw what is left between every two groups; None without any.

    Parameters
    ----------
    closures : sequence of mapping
        Each has ``dx_mas, dy_mas, error_mas``.
    prefix : str
        Of the name of the figure.
    stars : bool
        Whether groups were compared by their stars, or visits by their images.
    """
    known = [c for c in closures if np.isfinite([c["dx_mas"], c["dy_mas"]]).all()]
    if not known:
        return None
    left = np.array([[c["dx_mas"], c["dy_mas"]] for c in known])
    error = np.array([c["error_mas"] for c in known], dtype=float)
    figure, axis = empty(4.8, 4.2)
    axis.errorbar(*left.T, error, error, "none", ecolor="0.75", lw=0.8, zorder=1)
    sigma = np.hypot(*left.T) / np.where(error > 0, error, np.nan)
    shown = axis.scatter(*left.T, c=np.nan_to_num(sigma), s=22, cmap="viridis_r", vmin=0,
                         vmax=5, zorder=2)  # fmt: skip
    axis.axhline(0, color="0.6", lw=0.6, zorder=0)
    axis.axvline(0, color="0.6", lw=0.6, zorder=0)
    to_the_left(axis)
    axis.set(xlabel="east [mas]", ylabel="north [mas]")
    figure.colorbar(shown, ax=axis, label="length in units of its error", extend="max")
    length = np.hypot(*left.T)
    what = "groups" if stars else "visits"
    return Plot(
        f"{prefix}closures", "Closure of the network", figure,
        f"{'Mean difference of stars in' if stars else 'Shift between images of'} two "
        f"{what} after the correction. Good: a cloud about zero no larger than the error bars; "
        f"points that stand off belong to {what} that others contradict.",
        f"What is left in {len(known)} pair{'s' * (len(known) != 1)} of {what}: "
        f"median {np.median(length):.2g} mas, largest {length.max():.2g} mas.",
    )  # fmt: skip


def plot_catalog(catalog: CatalogTable, prefix: str = "") -> Plot | None:
    """Draw what is left of the catalog's stars against their magnitudes; None without any."""
    known = np.isfinite(catalog.magnitude) & np.isfinite(catalog.dx)
    if not known.any():
        return None
    figure, _ = empty(4.8, 4.8)
    figure.clear()
    colored = np.isfinite(catalog.color[known])
    width = 0.62 if colored.any() else 0.8
    axes = [figure.add_axes((0.16, y, width, 0.39)) for y in (0.55, 0.11)]
    for axis, left, name in zip(axes, (catalog.dx, catalog.dy), ("east", "north"), strict=True):
        mas, magnitude = 1e3 * left[known], catalog.magnitude[known]
        error = 1e3 * np.nan_to_num(catalog.error[known])
        axis.errorbar(magnitude, mas, error, fmt="none", ecolor="0.75", lw=0.8, zorder=1)
        look: dict[str, Any] = {"s": float(np.clip(4000 / known.sum(), 3, 20)), "zorder": 2}
        axis.scatter(magnitude[~colored], mas[~colored], color="0.45", **look)
        shown = axis.scatter(magnitude[colored], mas[colored], c=catalog.color[known][colored],
                             cmap="plasma", **look)  # fmt: skip
        clipped = ~catalog.used[known]
        axis.scatter(magnitude[clipped], mas[clipped], s=80, facecolor="none", edgecolor="#b2182b",
                     zorder=3)  # fmt: skip
        axis.axhline(0, color="0.6", lw=0.6, zorder=0)
        axis.set_ylabel(f"{name} [mas]")
    axes[0].tick_params(labelbottom=False)
    axes[1].set_xlabel("magnitude in the catalog")
    if colored.any():
        bar = figure.colorbar(shown, cax=figure.add_axes((0.81, 0.11, 0.03, 0.83)))
        bar.set_label("BP - RP")
    n_clipped = int((~catalog.used[known]).sum())
    return Plot(
        f"{prefix}catalog", "Stars of the reference catalog", figure,
        "Position in the catalog less that in the images. Good: scatter about zero that grows with "
        "magnitude as the error bars do, whatever the colour; a trend with magnitude or colour is "
        "saturation, or proper motions of the wrong time. Circled in red: left out.",
        f"Differences from the catalog of {known.sum()} stars of magnitude "
        f"{catalog.magnitude[known].min():.1f} to {catalog.magnitude[known].max():.1f}; "
        f"{n_clipped} left out.",
    )  # fmt: skip
