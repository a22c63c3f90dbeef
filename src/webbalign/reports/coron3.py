"""The picture of a coron3 run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.core.annuli import annular_rms, radii
from webbalign.products.atomic import Seal
from webbalign.reports.figures import Curve, Mark, Panel, draw_panels

__all__ = ["draw_coron3"]

# half width of the panels and width of a ring, arcsec
RADIUS, RING = 3.0, 0.2


def draw_coron3(
    path: str | Path,
    *,
    before: NDArray,
    after: NDArray,
    exposure: tuple[Any, tuple[float, float]],
    combined: ImageModel,
    marks: Sequence[tuple[float, float]] = (),
    name: str = "",
    recipe: Seal | None = None,
) -> Path:
    """Draw one exposure before and after subtraction, what was subtracted, and the combination.

    The exposure is shown as the detector has it, the combination on its own grid.

    Parameters
    ----------
    path : str or Path
        The PNG.
    before, after : ndarray, shape (ny, nx)
        Mean of the integrations before and after subtraction.
    exposure : (gwcs.WCS, (float, float))
        WCS of the exposure and 0-based (x, y) of its star.
    combined : ImageModel
        The ``_i2d`` model.
    marks : sequence of (float, float)
        Sky positions (RA, Dec in degrees) to mark.
    name : str
        What the exposure is called.
    recipe : Recipe, optional
        What the figure is made from, to be written into it.

    Returns
    -------
    Path
        The PNG.
    """
    wcs, star = exposure
    sky = wcs(*star, with_bounding_box=False)
    grid = combined.meta.wcs
    centre, scale = _pixel(grid, sky), _pixel_scale(wcs, star)
    there: dict[str, Any] = {
        "marks": [_mark(wcs, position) for position in marks],
        "compass": _compass(wcs, star),
    }
    panels = [
        Panel("before", before, star, scale, starlight=True, **there),
        Panel("PSF model", before - after, star, scale, starlight=True, **there),
        Panel("after", after, star, scale, **there),
    ]
    combined_scale = _pixel_scale(grid, centre)
    there = {
        "marks": [_mark(grid, position) for position in marks],
        "compass": _compass(grid, centre),
    }
    panels.append(Panel("combined", combined.data, centre, combined_scale, **there))
    if combined.err is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = combined.data / combined.err
        panels.append(
            Panel(
                "combined / ERR", ratio, centre, combined_scale, **there, unit="sigma", linear_to=5
            )
        )
    curves = [
        _scatter("before", before, star, scale, "C1-"),
        _scatter("after", after, star, scale, "C0-"),
        _scatter("combined", combined.data, centre, combined_scale, "k-"),
    ]
    if combined.err is not None:
        curves.append(_typical("ERR of combined", combined.err, centre, combined_scale, "k:"))
    return draw_panels(
        path, panels, title=_title(combined, name), unit=combined.meta.bunit_data or "",
        radius=RADIUS, columns=3, curves=("rms in rings", curves), dpi=150, recipe=recipe,
    )  # fmt: skip


def _title(combined: ImageModel, name: str) -> str:
    """Say what was observed, and what the panels show of it."""
    meta = combined.meta
    instrument = meta.instrument
    words = (instrument.name, instrument.filter, instrument.coronagraph)
    target = meta.target.proposer_name or meta.target.catalog_name or ""
    observed = ", ".join(part for part in (target, " ".join(filter(None, words))) if part)
    number = meta.resample.pointings
    exposures = f" of {number} exposure{'s' * (number > 1)}" if number else ""
    return f"{observed}\nabove: {name} on the detector; below: combination{exposures}"


def _rings() -> NDArray:
    return np.arange(RING / 2, RADIUS + RING, RING)


def _scatter(
    label: str, image: NDArray, centre: tuple[float, float], scale: float, style: str
) -> Curve:
    """Return the rms of an image in rings about the star, as the table of the run has it."""
    edges = _rings()
    rms = annular_rms(image, centre, edges / scale)
    return Curve(label, (edges[1:] + edges[:-1]) / 2, rms, style)


def _typical(
    label: str, image: NDArray, centre: tuple[float, float], scale: float, style: str
) -> Curve:
    """Return the median of an image in rings about the star."""
    edges = _rings()
    good = np.isfinite(image)
    ring = np.digitize(radii(image.shape, centre)[good] * scale, edges)
    values = image[good]
    median = [
        np.median(values[ring == index]) if (ring == index).any() else np.nan
        for index in range(1, len(edges))
    ]
    return Curve(label, (edges[1:] + edges[:-1]) / 2, np.array(median), style)


def _pixel(wcs: Any, sky: tuple[float, float]) -> tuple[float, float]:
    x, y = wcs.invert(*sky, with_bounding_box=False)
    return float(x), float(y)


def _mark(wcs: Any, position: tuple[float, float]) -> Mark:
    return Mark(_pixel(wcs, position), "")


def _pixel_scale(wcs: Any, xy: tuple[float, float]) -> float:
    """Return arcsec per pixel at a position."""
    ra, dec = np.array(wcs(xy[0] + np.array([0, 1, 0]), xy[1] + np.array([0, 0, 1.0])))
    east, north = (ra - ra[0]) * np.cos(np.radians(dec[0])), dec - dec[0]
    return float(3600 * np.sqrt(abs(east[1] * north[2] - east[2] * north[1])))


def _compass(wcs: Any, xy: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Return the directions of north and east on the image, as unit vectors (x, y)."""
    ra, dec = wcs(*xy, with_bounding_box=False)
    step = 1 / 3600
    places = ((ra, dec + step), (ra + step / np.cos(np.radians(dec)), dec))
    vectors = [np.subtract(_pixel(wcs, place), xy) for place in places]
    return tuple(tuple(vector / np.hypot(*vector)) for vector in vectors)
