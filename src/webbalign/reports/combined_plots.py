"""Pictures of the combined image: north up, with what helps to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from webbalign.products.coron_products import CoronProducts
from webbalign.reports.coron3_plots import RADIUS
from webbalign.reports.page import Comparison, Plot, Table

__all__ = ["has_errors", "plot_combined", "star_on"]

# Where the transmission of NIRCam's round masks is one half, and where MIRI's act, arcsec
# (user documentation of the coronagraphs).
INNER_ANGLES = {
    "MASKA210R": 0.40, "MASKA335R": 0.63, "MASKA430R": 0.81, "MASKASWB": 0.40, "MASKALWB": 0.58,
    "4QPM_1065": 0.33, "4QPM_1140": 0.36, "4QPM_1550": 0.49, "4QPM": 0.33, "LYOT_2300": 2.16,
    "LYOT": 2.16,
}  # fmt: skip


def star_on(products: CoronProducts) -> tuple[float, float]:
    """Return the 0-based (x, y) of the star in the combined image.

    It lies where the header of the first exposure has it, by the WCS of both.
    """
    first = products.exposures[0]
    sky = first.subtracted.meta.wcs(*first.star, with_bounding_box=False)
    x, y = products.combined.meta.wcs.invert(*sky, with_bounding_box=False)
    return float(x), float(y)


def has_errors(combined: Any) -> bool:
    """Tell whether a combined image knows the errors of its pixels."""
    err = combined.err
    return err is not None and bool(np.any(np.isfinite(err) & (err > 0)))


def plot_combined(
    products: CoronProducts, marks: Sequence[tuple[float, float]] = ()
) -> list[Plot | Table | Comparison]:
    """Draw the combined image and its significance.

    Parameters
    ----------
    products : CoronProducts
    marks : sequence of (float, float)
        Sky positions (RA, Dec in degrees) to mark.
    """
    combined = products.combined
    unit = combined.meta.bunit_data or "unit of the images"
    data = np.asarray(combined.data, np.float64)
    scatter = 1.4826 * float(np.nanmedian(np.abs(data - np.nanmedian(data)))) or 1.0
    highest = max(float(np.nanpercentile(np.abs(data), 99.9)), 5 * scatter)
    items: list[Plot | Table | Comparison] = [
        _picture(
            products, data, AsinhNorm(3 * scatter, -highest, highest), unit, marks,
            name="combined", title="Combined image, north up",
            good="Colours linear up to 3 times the scatter of the image, logarithmic beyond. Good: "
            "no spikes or rings about the star; what is on the sky has the shape of a "
            "star or of a disk, what is left of the starlight that of speckles.",
        )
    ]  # fmt: skip
    if has_errors(combined):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = data / combined.err
        top = max(7.0, float(np.nanmax(np.abs(ratio), initial=0.0, where=np.isfinite(ratio))))
        items.append(
            _picture(
                products, ratio, AsinhNorm(5.0, -top, top), "sigma", marks,
                name="significance", title="Significance of each pixel",
                good="Good: the colours of empty sky are pale (within 3 sigma); what stands out "
                "has the size of a resolution element at least.",
            )
        )  # fmt: skip
    return items


def _picture(
    products: CoronProducts, image: Any, norm: Any, unit: str, marks: Sequence[Any], **words: str
) -> Plot:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image, to_pixel, scale = _north_up(products, image)
    star = to_pixel(*_sky_of_star(products))
    extent = _extent(image.shape, star, scale)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.set_facecolor("0.75")
    shown = axis.imshow(image, origin="lower", cmap="RdBu_r", norm=norm, extent=extent)
    figure.colorbar(shown, label=unit)
    reach = min(RADIUS, max(map(abs, extent)))
    axis.set(
        xlim=(-reach, reach), ylim=(-reach, reach),
        xlabel="arcsec, east to the left", ylabel="arcsec, north up",
    )  # fmt: skip
    axis.xaxis.set_major_formatter(lambda x, _: f"{0 - x:g}")
    _annotate(axis, products, reach)
    for ra_dec in marks:
        x, y = to_pixel(*ra_dec)
        axis.plot((x - star[0]) * scale, (y - star[1]) * scale, "o", ms=18, mfc="none", mec="k")
    mark = f", {len(marks)} marked positions" if marks else ""
    return Plot(
        words["name"], words["title"], figure, words["good"],
        f"{words['title']}: {2 * reach:g} arcsec wide, the star in the middle{mark}.",
    )  # fmt: skip


def _annotate(axis: Any, products: CoronProducts, reach: float) -> None:
    """Draw star, inner working angle, compass and scale bar."""
    outline = [withStroke(linewidth=2.5, foreground="w")]
    axis.plot(0, 0, "*", c="gold", mec="k", ms=12, mew=0.9)
    mask = products.combined.meta.instrument.coronagraph
    angle = INNER_ANGLES.get(mask or "")
    if angle:
        axis.add_patch(Circle((0, 0), angle, fill=False, lw=2.5, ec="w", alpha=0.7))
        axis.add_patch(Circle((0, 0), angle, fill=False, ls="--", ec="k"))
        axis.annotate(f"inner working angle {angle:g}″", (0, angle), (0, 4), ha="center",
                      textcoords="offset points", fontsize=8, path_effects=outline)  # fmt: skip
    corner, length = -0.9 * reach, 0.18 * reach
    for dx, dy, label in ((0, length, "N"), (-length, 0, "E")):
        # east is to the left: the compass stands clear of the left edge
        x = corner + length
        axis.annotate(label, (x, corner), (x + dx, corner + dy), ha="center", va="center",
                      path_effects=outline, arrowprops={"arrowstyle": "<-"})  # fmt: skip
    bar = 1.0 if reach > 1.5 else 0.5
    axis.plot([0.9 * reach - bar, 0.9 * reach], [corner, corner], "k-", lw=2)
    axis.annotate(f"{bar:g}″", (0.9 * reach - bar / 2, corner), (0, 4), ha="center",
                  textcoords="offset points", path_effects=outline)  # fmt: skip


def _sky_of_star(products: CoronProducts) -> tuple[float, float]:
    ra, dec = products.combined.meta.wcs(*star_on(products), with_bounding_box=False)
    return float(ra), float(dec)


def _north_up(products: CoronProducts, image: Any) -> tuple[Any, Any, float]:
    """Return the image with north up, what takes (RA, Dec) to its 0-based pixels, arcsec/pixel."""
    grid = products.combined.meta.wcs
    scale, turn = _scale_and_turn(grid, star_on(products))
    if abs(turn) < 0.1:
        to_pixel = lambda ra, dec: grid.invert(ra, dec, with_bounding_box=False)  # noqa: E731
        return image, to_pixel, scale
    return (*_turned(image, grid, _sky_of_star(products), scale), scale)


def _turned(image: Any, grid: Any, sky: tuple[float, float], scale: float) -> tuple[Any, Any]:
    from astropy.wcs import WCS
    from reproject import reproject_interp

    half = round(1.2 * RADIUS / scale)
    upright = WCS(naxis=2)
    upright.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    upright.wcs.crval, upright.wcs.crpix = sky, [half + 1, half + 1]
    upright.wcs.cdelt = [-scale / 3600, scale / 3600]
    turned = reproject_interp(
        (image, grid), upright, shape_out=(2 * half + 1, 2 * half + 1), return_footprint=False
    )
    return turned, upright.world_to_pixel_values


def _scale_and_turn(grid: Any, xy: tuple[float, float]) -> tuple[float, float]:
    """Return arcsec per pixel and the angle (deg) from up to north, towards the left."""
    ra, dec = grid(*xy, with_bounding_box=False)
    x, y = grid.invert(ra, dec + 1 / 3600, with_bounding_box=False)
    dx, dy = x - xy[0], y - xy[1]
    return float(1 / np.hypot(dx, dy)), float(np.degrees(np.arctan2(-dx, dy)))


def _extent(
    shape: tuple[int, ...], star: Sequence[float], scale: float
) -> tuple[float, float, float, float]:
    left, bottom = ((-0.5 - float(place)) * scale for place in star)
    return left, left + shape[1] * scale, bottom, bottom + shape[0] * scale
