"""One image of an alignment: its stars over a thumbnail, and what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from webbalign.products.alignment_products import AlignmentProducts
from webbalign.products.names import root
from webbalign.products.solutions import SolvedImage
from webbalign.products.solved_stars import StarTable
from webbalign.products.star_pixels import read_thumbnail
from webbalign.reports.canvas import round_down
from webbalign.reports.page import Gallery, Plot

__all__ = ["IMAGES_SHOWN", "draw_thumbnail", "image_gallery", "marker_size"]

# A page of more pictures would be slow to make, and large
IMAGES_SHOWN = 20
_WIDTH, _HEIGHT = 3.9, 8.9  # inches
_BLOCKS, _SHADES = 200, 12  # of a thumbnail
_SEVERAL = 120  # stars; markers of more are smaller
_USED, _CLIPPED, _UNMATCHED, _CATALOG = "#2166ac", "#e66101", "#b2182b", "#1b7837"


def image_gallery(
    products: AlignmentProducts, shown: int = IMAGES_SHOWN, prefix: str = ""
) -> Gallery | None:
    """Draw the images one by one, of many those that need looking at; None without stars."""
    if products.stars is None:
        return None
    rows = _chosen(products.solution.images, shown)
    plots = [_image(products, row, f"{prefix}image_{root(row.filename)}") for row in rows]
    left_out = len(products.solution.images) - len(rows)
    which = (
        f" Of {len(products.solution.images)} images those that are not aligned and those of the "
        "largest residuals are shown."
        if left_out
        else ""
    )
    return Gallery(
        "Image by image",
        "Top: blue circles are stars that the solution rests on, squares those of the catalog; "
        "orange crosses were matched and left out, red dots were found in this image only. Good: "
        "circles all over the image and on stars, not on its edges and spikes. Middle: what is "
        "left of each star. Good: arrows of all directions; a whirl or a flow is distortion, or "
        "too simple a fitgeometry. Bottom: their distribution. Good: narrow and about zero."
        + which,
        plots,
    )


def _chosen(rows: Sequence[SolvedImage], shown: int) -> list[SolvedImage]:
    """Return all images, of many those that stand out, in their order."""
    badness = [(row.is_applied, -np.nan_to_num(row.rms), row.filename) for row in rows]
    worst = sorted(range(len(rows)), key=badness.__getitem__)[:shown]
    return [rows[k] for k in sorted(worst)]


def _image(products: AlignmentProducts, row: SolvedImage, name: str) -> Plot:
    assert products.stars is not None
    stars = products.stars.of(row.filename)
    number = products.stars.images.index(row.filename)
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    FigureCanvasAgg(figure)
    top, middle, bottom = (
        figure.add_axes((0.17, y / _HEIGHT, 0.8, height / _HEIGHT))
        for y, height in ((5.7, 3.1), (2.2, 2.95), (0.5, 1.2))
    )
    in_catalog = products.stars.catalog.star[products.stars.catalog.used]
    known = np.isin(stars.star, in_catalog) & stars.used
    _draw_sources(top, stars, known, products.images.get(row.filename),
                  products.stars.shapes[number])  # fmt: skip
    _draw_vectors(middle, stars)
    _draw_histogram(bottom, stars)
    clipped = int(((stars.star >= 0) & ~stars.used).sum())
    return Plot(
        name, f"{root(row.filename)}: {row.status}", figure, "",
        f"{row.filename}: {stars.used.sum()} stars used, {known.sum()} of them in the catalog, "
        f"{clipped} left out, {(stars.star < 0).sum()} found in this image only; rms "
        f"{1e3 * row.rms:.2f} mas.",
    )  # fmt: skip


def _draw_sources(
    axis: Any, stars: StarTable, known: NDArray[np.bool_], path: Path | None, shape: Sequence[int]
) -> None:
    ny, nx = shape
    if path is not None:
        draw_thumbnail(axis, path)
    look: dict[str, Any] = {"facecolor": "none", "lw": 0.9}
    size = marker_size(len(stars))
    matched = stars.star >= 0
    for chosen, marker, area, color in (
        (stars.used & ~known, "o", 26, _USED),
        (known, "s", 34, _CATALOG),
    ):
        axis.scatter(stars.x[chosen], stars.y[chosen], size * area, marker=marker, ec=color, **look)
    off = matched & ~stars.used
    axis.scatter(stars.x[off], stars.y[off], s=24 * size, marker="x", color=_CLIPPED, lw=1.0)
    axis.scatter(stars.x[~matched], stars.y[~matched], s=7, marker=".", color=_UNMATCHED)
    axis.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect="equal")
    axis.set_ylabel("y [px]")
    axis.set_xlabel("x [px]", labelpad=1)


def draw_thumbnail(axis: Any, path: Path) -> None:
    """Draw an image in a few shades, in its pixels: noise in many would be most of a page."""
    image, step = read_thumbnail(path, _BLOCKS)
    extent = (-0.5, image.shape[1] * step - 0.5, -0.5, image.shape[0] * step - 0.5)
    good = image[np.isfinite(image)]
    low, top = np.percentile(good, (2, 99.7)) if good.size else (0.0, 1.0)
    shades = np.floor(_SHADES * (image - low) / max(top - low, 1e-9)) / _SHADES
    axis.imshow(shades, origin="lower", cmap="gray_r", extent=extent, vmin=0,
                vmax=1, interpolation="nearest")  # fmt: skip


def marker_size(count: int) -> float:
    """Return the size of the markers of so many stars: 1 of a few, less of many."""
    return min(1.0, max(0.25, _SEVERAL / max(count, 1)))


def _draw_vectors(axis: Any, stars: StarTable) -> None:
    """Draw the residuals in the plane of the image, north up, east to the left."""
    seen = np.isfinite(stars.dx)
    axis.set_xlabel("east [arcsec]", labelpad=1)
    axis.set_ylabel("north [arcsec]")
    if not seen.any():
        axis.text(0.5, 0.5, "no matched star", ha="center", va="center",
                  transform=axis.transAxes)  # fmt: skip
        axis.set(xticks=(), yticks=())
        return
    east, north = (v - np.nanmean(v) for v in (stars.east, stars.north))
    width = max(np.ptp(east), np.ptp(north), 1.0)
    used = seen & stars.used
    typical = float(np.median(np.hypot(stars.dx, stars.dy)[used if used.any() else seen]))
    scale = 0.06 * width / max(typical, 1e-7)
    for chosen, color in ((seen & ~stars.used, _CLIPPED), (used, _USED)):
        # one that was left out would leave the picture
        length = np.hypot(stars.dx[chosen], stars.dy[chosen])
        cut = np.minimum(1.0, 5 * typical / np.maximum(length, 1e-12))
        axis.quiver(
            east[chosen], north[chosen], cut * stars.dx[chosen], cut * stars.dy[chosen],
            angles="xy", scale_units="xy", scale=1 / scale, color=color, width=0.005,
        )  # fmt: skip
    half = 0.6 * width
    axis.set(xlim=(half, -half), ylim=(-half, half), aspect="equal")
    key = round_down(max(2 * typical, 1e-6))
    axis.plot([0.95 * half, 0.95 * half - key * scale], [-0.92 * half] * 2, "k-", lw=1.6)
    axis.text(0.93 * half - key * scale, -0.92 * half, f"{1e3 * key:g} mas", fontsize=9,
              va="center", bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1})  # fmt: skip


def _draw_histogram(axis: Any, stars: StarTable) -> None:
    used = stars.used & np.isfinite(stars.dx)
    axis.set_xlabel("residual [mas]", labelpad=1)
    axis.set_ylabel("stars")
    if used.sum() < 2:
        axis.set(xticks=(), yticks=())
        return
    left = 1e3 * np.stack([stars.dx[used], stars.dy[used]])
    most = max(float(np.abs(left).max()), 1e-6)
    edges = np.linspace(-most, most, 22)
    for values, name, color, style in ((left[0], "east", "#2166ac", "-"),
                                       (left[1], "north", "#b35806", "--")):  # fmt: skip
        label = f"{name}, rms {np.sqrt(np.mean(values**2)):.2g}"
        axis.hist(values, edges, histtype="step", color=color, ls=style, label=label)
    axis.set_ylim(0, 1.75 * axis.get_ylim()[1])
    axis.legend(fontsize=8, frameon=False, ncol=2, loc="upper center", borderaxespad=0.1,
                handlelength=1.4, columnspacing=1.0)  # fmt: skip
