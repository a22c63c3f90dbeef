"""The plots of a coron3 report; each says in one line what a good one looks like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from webbalign.core.annuli import annular_rms
from webbalign.products.coron_products import CoronProducts, ExposureProducts
from webbalign.reports.axes import new_figure, plain_powers
from webbalign.reports.page import Comparison, Plot

__all__ = [
    "new_figure",
    "outlying",
    "plot_eigenvalues",
    "plot_fits",
    "plot_flagged",
    "plot_modes",
    "plot_rms",
    "plot_shifts",
    "plot_weight",
    "views",
]

# half width of the views and width of a ring, arcsec
RADIUS, RING = 3.0, 0.1
# sigma from the other fits of its reference at which a fit is called outlying
OUTLYING = 5.0


def outlying(table: NDArray) -> NDArray[np.bool_]:
    """Return which fits (rows) failed, or stand off the other fits of their reference."""
    found: NDArray[np.bool_] = table["status"] != b"OK"
    for reference in np.unique(table["psf_int"]):
        of = np.flatnonzero(table["psf_int"] == reference)
        if len(of) > 4:
            for axis in ("dx", "dy"):
                off = table[axis][of] - np.nanmedian(table[axis][of])
                # the star moves from one integration to the next as well
                spread = 1.4826 * np.nanmedian(np.abs(off))
                found[of] |= np.abs(off) > OUTLYING * np.hypot(spread, table[f"{axis}_err"][of])
    return found


def plot_shifts(exposures: Sequence[ExposureProducts]) -> Plot:
    """Draw the fitted shift of each reference, and how it moves from integration to integration."""
    tables = [(e.name, e.shifts) for e in exposures if e.shifts is not None]
    figure, axes = new_figure(8.4, 3.6 * len(tables), nrows=len(tables), ncols=2)
    for (name, table), (plane, drift) in zip(tables, axes, strict=True):
        marked = outlying(table)
        colour = colormaps["viridis"](table["psf_int"] / max(table["psf_int"].max(), 1))
        plane.errorbar(
            table["dx"], table["dy"], table["dy_err"], table["dx_err"], "none",
            ecolor=colour, lw=0.8,
        )  # fmt: skip
        plane.scatter(table["dx"], table["dy"], s=7, c=colour)
        plane.scatter(
            table["dx"][marked], table["dy"][marked], s=70, marker="o", facecolor="none",
            edgecolor="C3", label="failed or outlying",
        )  # fmt: skip
        plane.set(xlabel="dx [px]", ylabel="dy [px]")
        plane.set_title(name, fontsize=9)
        plane.set_aspect("equal", "datalim")
        if marked.any():
            plane.legend()
        _draw_drift(drift, table)
    number = sum(len(table) for _, table in tables)
    failed = sum(int(outlying(table).sum()) for _, table in tables)
    return Plot(
        "shifts", "Fitted shifts", figure,
        "Good: one tight group per dither position, moving together from integration to "
        "integration (right) by no more than the pointing jitters; nothing circled.",
        f"Shift in x and y of {number} pairs of a reference and a science integration, with error "
        f"bars; {failed} failed or outlying.",
    )  # fmt: skip


def _draw_drift(axis: Any, table: NDArray) -> None:
    """Draw the mean shift of all references against the science integration."""
    numbers = np.unique(table["sci_int"])
    if len(numbers) < 2:
        length = np.hypot(table["dx"], table["dy"])
        error = np.hypot(table["dx_err"], table["dy_err"]) / np.sqrt(2)
        axis.errorbar(table["psf_int"], length, error, fmt=".", ms=4)
        axis.set(xlabel="reference", ylabel="length of the shift [px]")
        return
    for label, style in (("dx", "C0"), ("dy", "C1")):
        by_reference = {
            r: np.nanmean(table[label][table["psf_int"] == r]) for r in np.unique(table["psf_int"])
        }
        off = table[label] - np.array([by_reference[r] for r in table["psf_int"]])
        mean = [np.nanmean(off[table["sci_int"] == n]) for n in numbers]
        error = [np.nanmean(table[f"{label}_err"][table["sci_int"] == n]) for n in numbers]
        axis.errorbar(numbers, mean, error, fmt=f"{style}.-", lw=0.8, label=label)
    axis.set(xlabel="science integration", ylabel="shift less its mean [px]")
    axis.legend()


def plot_fits(exposures: Sequence[ExposureProducts]) -> Plot:
    """Draw flux ratios and residuals of the fits against the reference."""
    figure, ((ratio, chi2),) = new_figure(8.4, 3.2, ncols=2)
    for exposure in exposures:
        table = exposure.shifts
        if table is None:
            continue
        ratio.errorbar(
            table["psf_int"], table["flux_ratio"], table["flux_ratio_err"], fmt=".", ms=4, lw=0.7,
            label=exposure.name,
        )  # fmt: skip
        chi2.plot(table["psf_int"], table["chi2_reduced"], ".", ms=4)
    ratio.set(xlabel="reference", ylabel="flux of PSF / flux of science")
    chi2.set(xlabel="reference", ylabel="reduced chi-square", yscale="log")
    chi2.yaxis.set_major_formatter("{x:.3g}")
    chi2.yaxis.set_minor_formatter("{x:.3g}")
    ratio.legend(fontsize=7)
    return Plot(
        "fits", "Flux ratios and residuals of the fits", figure,
        "Good: one flux ratio per reference star, whatever the integration; references whose "
        "chi-square stands out are those that resemble the star least.",
        "Flux ratio with error bars, and reduced chi-square, against the number of the reference.",
    )  # fmt: skip


def plot_weight(exposure: ExposureProducts) -> Plot:
    """Draw the weight of the pixels in the alignment."""
    assert exposure.weight is not None
    figure, ((axis,),) = new_figure(4.6, 4.0)
    shown = axis.imshow(exposure.weight, origin="lower", cmap="gray", vmin=0, vmax=1)
    axis.plot(*exposure.star, "*", c="C3", ms=9)
    axis.set(xlabel="x [px]", ylabel="y [px]")
    axis.set_title(exposure.name, fontsize=8)
    figure.colorbar(shown, label="weight")
    return Plot(
        "weight", "Weight of the pixels in the alignment", figure,
        "Good: black behind the coronagraph, whose centre lies on the star (red); white where "
        "there are speckles to align.",
        f"Map of weights from 0 to 1; {100 * np.mean(exposure.weight > 0):.0f} percent of the "
        "pixels have weight.",
    )  # fmt: skip


def plot_eigenvalues(exposures: Sequence[ExposureProducts]) -> Plot:
    """Draw the eigenvalues of the references."""
    figure, ((axis,),) = new_figure(6.4, 3.4)
    for exposure in exposures:
        values = exposure.eigenvalues
        if values is not None:
            axis.semilogy(np.arange(1, len(values) + 1), values / values.sum(), ".-", ms=4,
                          label=exposure.name)  # fmt: skip
    for n_modes in {e.n_modes for e in exposures if e.n_modes is not None}:
        axis.axvline(n_modes + 0.5, c="0.5", ls="--", lw=0.9)
        axis.annotate(f"{n_modes} subtracted", (n_modes + 0.5, 1), (-3, -3), ha="right", va="top",
                      xycoords=("data", "axes fraction"), textcoords="offset points", rotation=90,
                      fontsize=8)  # fmt: skip
    axis.set(xlabel="Karhunen-Loeve mode", ylabel="share of the variance")
    plain_powers(axis.yaxis)
    axis.legend(fontsize=7)
    return Plot(
        "eigenvalues", "Eigenvalues of the references", figure,
        "Good: a steep fall and then a slow one, which is noise; modes of the slow part take more "
        "from a companion than from the star.",
        "Share of the variance of the references in each mode, on a logarithmic scale.",
    )  # fmt: skip


def plot_modes(exposure: ExposureProducts) -> Plot:
    """Draw the first modes."""
    modes = exposure.modes
    assert modes is not None
    figure, axes = new_figure(2.2 * len(modes), 2.5, ncols=len(modes))
    for number, (axis, mode) in enumerate(zip(axes[0], modes, strict=True), start=1):
        top = np.nanpercentile(np.abs(mode), 99.5)
        axis.imshow(mode, origin="lower", cmap="RdBu_r", norm=AsinhNorm(top / 10, -top, top))
        axis.set(title=f"mode {number}", xticks=(), yticks=())
    return Plot(
        "modes", f"First Karhunen-Loeve modes of {exposure.name}", figure,
        "Good: the PSF and its changes with drift and focus, never a point source: a companion of "
        "a reference star would be seen here.",
        f"Images of the first {len(modes)} modes.",
    )  # fmt: skip


def plot_rms(exposures: Sequence[ExposureProducts], scale: float) -> Plot:
    """Draw the rms in rings before and after subtraction."""
    figure, ((axis,),) = new_figure(6.4, 4.0)
    for number, exposure in enumerate(exposures):
        edges = np.arange(RING / 2, RADIUS * 2, RING)
        middle = (edges[1:] + edges[:-1]) / 2
        colour = f"C{number % 10}"
        for image, style in ((exposure.before, ":"), (exposure.after, "-")):
            if image is not None:
                rms = annular_rms(image, exposure.star, edges / scale)
                label = exposure.name if style == "-" else None
                axis.semilogy(middle, rms, style, c=colour, label=label)
    unit = exposures[0].subtracted.meta.bunit_data or "unit of the images"
    axis.set(xlabel="distance from the star [arcsec]", ylabel=f"rms in a ring [{unit}]")
    plain_powers(axis.yaxis)
    axis.legend(fontsize=8, title="dotted: before, line: after", title_fontsize=8)
    axis.grid(alpha=0.3)
    return Plot(
        "rms", "Rms in rings before and after", figure,
        "Good: the lines lie far below the dotted ones near the star and meet the same level far "
        "from it; a ring in which they meet has not been cleaned.",
        "Rms of the mean image in rings about the star, before and after subtraction, for each "
        "exposure.",
    )  # fmt: skip


def plot_flagged(products: CoronProducts) -> Plot | None:
    """Draw the number of pixels flagged in each integration; None if no file tells it."""
    rows = [
        ("science", [(e.name, e.n_flagged) for e in products.exposures]),
        ("references", [(r.name, r.n_flagged) for r in products.references]),
    ]
    figure, (axes,) = new_figure(8.4, 3.0, ncols=2, sharey=True)
    total = 0
    for axis, (title, exposures) in zip(axes, rows, strict=True):
        begun = 0
        for name, counts in exposures:
            if counts is not None:
                axis.plot(begun + np.arange(len(counts)), counts, ".-", ms=4, lw=0.7, label=name)
                begun += len(counts)
        total += begun
        axis.set_xlabel(f"integration, {title}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(ylabel="flagged pixels", ylim=(0, 1.05 * axes[0].get_ylim()[1]))
    if not total:
        return None
    return Plot(
        "flagged", "Flagged pixels per integration", figure,
        "Good: about the same number in each integration, a few in ten thousand pixels; one that "
        "stands out was hit by something, or its star had moved.",
        f"Number of pixels flagged as outliers in each of {total} integrations; a line for each "
        "exposure.",
    )  # fmt: skip


def views(exposure: ExposureProducts, scale: float) -> Comparison:
    """Return the field before, as it was modelled, and after, all with the same colours."""
    before, after = exposure.before, exposure.after
    assert before is not None
    images = {"before": before, "PSF model": before - after, "after": after}
    (x, y), half = exposure.star, round(RADIUS / scale)
    part = np.s_[
        max(round(y) - half, 0) : round(y) + half + 1, max(round(x) - half, 0) : round(x) + half + 1
    ]
    cut = {name: image[part] for name, image in images.items()}
    sigma = 1.4826 * np.nanmedian(np.abs(cut["after"] - np.nanmedian(cut["after"])))
    top = max(float(np.nanpercentile(np.abs(cut["before"]), 99.8)), 10 * sigma)
    norm = AsinhNorm(linear_width=2 * sigma or 1.0, vmin=-top, vmax=top)
    colours = colormaps["RdBu_r"].with_extremes(bad="0.5")
    what = {
        "before": "The mean of the integrations, starlight and all.",
        "PSF model": "The starlight that was subtracted.",
        "after": "What is left.",
    }
    return Comparison(
        f"views_{exposure.name}",
        f"{exposure.name}: before, model, after",
        [(name, what[name], _png(colours(norm(image)))) for name, image in cut.items()],
        f"The inner {2 * RADIUS:g} x {2 * RADIUS:g} arcsec on the detector, one colour scale: "
        "linear up to twice the scatter of what is left, logarithmic beyond. Good: no rings and no "
        "spikes remain; what does remain is alike in no two rolls unless it is on the sky.",
    )


def _png(colours: NDArray) -> bytes:
    """Return an image (ny, nx, 4), first row at the bottom, as PNG."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    rows = np.asarray(255 * colours[::-1], dtype=np.uint8)
    imsave(buffer, np.ascontiguousarray(rows), format="png", metadata={"Software": ""})
    return buffer.getvalue()
