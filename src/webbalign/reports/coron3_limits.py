"""The limit of detection of a coron3 run: a curve, some numbers, and what they leave out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from webbalign.core.contrast import ContrastCurve, contrast_curve
from webbalign.products.coron_products import CoronProducts
from webbalign.reports.axes import new_figure, number, plain_powers
from webbalign.reports.combined_plots import star_on
from webbalign.reports.page import Plot, Section, Table

__all__ = ["limits", "plot_contrast"]

# Throughput of the subtraction below which no limit is given.
LEAST_LEFT = 0.02


def limits(products: CoronProducts, star_flux: float | None) -> Section:
    """Return the section on the limit of detection.

    Parameters
    ----------
    products : CoronProducts
    star_flux : float or None
        Flux of the star, Jy.
    """
    combined, resolution = products.combined, products.resolution
    area = combined.meta.photometry.pixelarea_steradians
    if not (np.isfinite(resolution) and area):
        text = "Filter or pixel area are not known: no limit can be given."
        return Section("limits", "Limit of detection", text)
    scale = np.degrees(np.sqrt(area)) * 3600
    radii = np.arange(1.0, 30.0, 0.5) * resolution
    radii = radii[radii < min(combined.data.shape) * scale / 2]
    curve = contrast_curve(combined.data, star_on(products), resolution / scale, radii / scale)
    kept = _throughput(products, radii)
    if kept is not None:
        curve = replace(curve, noise=curve.noise / kept, limit=curve.limit / kept)
    before = _curve_before(products, resolution, radii)
    # MJy/sr times pixels to Jy
    to_jansky = 1e6 * area
    return Section(
        "limits", "Limit of detection", _about_limits(star_flux, corrected=kept is not None),
        [plot_contrast(curve, before, (scale, resolution, to_jansky), star_flux),
         _limit_table(curve, before, kept, (scale, resolution, to_jansky), star_flux)],
    )  # fmt: skip


def _throughput(products: CoronProducts, radii: Any) -> Any:
    """Return the share of a companion's light that is left at `radii` (arcsec); None if unknown."""
    tables = [exposure.throughput for exposure in products.exposures]
    known = [table for table in tables if table is not None and len(table)]
    if len(known) < len(tables):
        return None
    kept = [np.interp(radii, table["separation"], table["throughput"]) for table in known]
    # where hardly anything is left no limit can be given
    mean = np.mean(kept, axis=0)
    return np.where(mean > LEAST_LEFT, mean, np.nan)


def _about_limits(star_flux: float | None, *, corrected: bool) -> str:
    if star_flux:
        star = f"Contrasts are to a star of {star_flux:g} Jy, as was given with --star-flux."
    else:
        star = (
            "The products do not tell the flux of the star, which is behind the coronagraph; "
            "so these are fluxes. With --star-flux (Jy) they are given as contrasts as well."
        )
    taken = "light that the subtraction takes from a companion"
    if corrected:
        taken = f"Corrected for the {taken} (its throughput is that of KLIP). Not corrected for: "
    else:
        taken = f"Not corrected for: {taken}, which these products do not tell, "
    return (
        f"{star} {taken}light outside the aperture, and what the coronagraph itself takes near "
        "its inner working angle."
    )


def _curve_before(products: CoronProducts, resolution: float, radii: Any) -> ContrastCurve | None:
    """Return the limit in the first exposure before subtraction, in the unit of the combination."""
    first = products.exposures[0]
    area = first.subtracted.meta.photometry.pixelarea_steradians
    if first.before is None or not area:
        return None
    scale = np.degrees(np.sqrt(area)) * 3600
    image = first.before * (area / products.combined.meta.photometry.pixelarea_steradians)
    return contrast_curve(image, first.star, resolution / scale, radii / scale)


def _limit_table(
    curve: ContrastCurve,
    before: ContrastCurve | None,
    throughput: Any,
    units: tuple[float, float, float],
    star: float | None,
) -> Table:
    """Return the curve at some distances."""
    scale, resolution, to_jansky = units
    rows = []
    for wanted in (2, 3, 5, 8, 12, 20):
        index = int(np.argmin(np.abs(curve.separation * scale / resolution - wanted)))
        arcsec = curve.separation[index] * scale
        if abs(arcsec / resolution - wanted) > 0.3:
            continue
        flux = curve.limit[index] * to_jansky
        row = [
            f"{arcsec:.2f}″", f"{arcsec / resolution:.1f}", str(curve.n_elements[index]),
            number(1e6 * before.limit[index] * to_jansky) if before else "-", number(1e6 * flux),
        ]  # fmt: skip
        if throughput is not None:
            row.insert(-1, f"{throughput[index]:.2f}")
        rows.append([*row, number(flux / star, ".1e")] if star else row)
    head = ["distance", "λ/D", "elements", "before [µJy]", "combined [µJy]"]
    note = "5-sigma limits; elements: resolution elements on the ring from which it was learned."
    if throughput is not None:
        head.insert(-1, "throughput")
        note += " Throughput: share of a companion's light that the subtraction leaves."
    head += ["contrast"] if star else []
    return Table("Limits at some distances", head, rows, note)


def plot_contrast(
    curve: ContrastCurve,
    before: ContrastCurve | None,
    units: tuple[float, float, float],
    star: float | None,
) -> Plot:
    """Draw the limit of detection in the combined image.

    Parameters
    ----------
    curve : ContrastCurve
    before : ContrastCurve or None
        Of one exposure before subtraction, at the same distances.
    units : tuple of float
        Arcsec per pixel, arcsec per lambda/D, Jy per unit of the curve.
    star : float or None
        Flux of the star, Jy; its contrast is drawn on the right.
    """
    scale, resolution, to_jansky = units
    figure, ((axis,),) = new_figure(6.6, 4.2)
    arcsec = curve.separation * scale
    if before is not None:
        label = "one exposure before subtraction"
        axis.semilogy(arcsec, 1e6 * to_jansky * before.limit, "C1--", lw=1, label=label)
    axis.semilogy(arcsec, 1e6 * to_jansky * curve.limit, "k-", label="combined image")
    label = "5 times the scatter alone"
    axis.semilogy(arcsec, 5e6 * to_jansky * curve.noise, "k:", lw=0.9, label=label)
    axis.set(xlabel="distance from the star [arcsec]", ylabel="5-sigma limit [µJy in 1 λ/D]")
    axis.legend(fontsize=8)
    above = axis.secondary_xaxis("top", (lambda x: x / resolution, lambda x: x * resolution))
    above.set_xlabel("distance [λ/D]")
    plain_powers(axis.yaxis)
    if star:
        right = axis.secondary_yaxis("right", (lambda y: y / star / 1e6, lambda c: c * star * 1e6))
        right.set_ylabel("contrast to the star")
        plain_powers(right.yaxis)
    axis.grid(alpha=0.3)
    return Plot(
        "contrast", "Limit of detection", figure,
        "Good: the line falls steeply, far below the dashed one, and levels out where the "
        "background takes over. Line: with small-sample statistics (Mawet et al. 2014); "
        "companions and disks in the image raise it.",
        "Flux in an aperture of one λ/D that is detected at 5 sigma, against the distance "
        "from the star, in arcsec (below) and λ/D (above).",
    )  # fmt: skip
