"""The picture of a coron3 run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.reports.figures import Mark, Panel, draw_panels

__all__ = ["draw_coron3"]


def draw_coron3(
    path: str | Path,
    *,
    before: NDArray,
    after: NDArray,
    exposure: tuple[Any, tuple[float, float]],
    combined: ImageModel,
    marks: Sequence[tuple[float, float]] = (),
    title: str = "",
) -> Path:
    """Draw one exposure before and after subtraction, what was subtracted, and the combination.

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
    title : str

    Returns
    -------
    Path
        The PNG.
    """
    wcs, star = exposure
    sky = wcs(*star, with_bounding_box=False)
    grid = combined.meta.wcs
    combined_star = _pixel(grid, sky)
    scale = _pixel_scale(wcs, star)
    own = [_mark(wcs, position) for position in marks]
    in_combined = [_mark(grid, position) for position in marks]
    panels = [
        Panel("before", before, star, scale, starlight=True, marks=own),
        Panel("PSF model", before - after, star, scale, starlight=True),
        Panel("after", after, star, scale, marks=own),
    ]
    combined_scale = _pixel_scale(grid, combined_star)

    def panel(title: str, image: NDArray, **details: Any) -> Panel:
        return Panel(title, image, combined_star, combined_scale, marks=in_combined, **details)

    panels.append(panel("combined", combined.data, compass=_compass(grid, combined_star)))
    if combined.err is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            significance = combined.data / combined.err
        panels.append(panel("combined / ERR", significance, unit="sigma", spread=7.0))
    return draw_panels(path, panels, title=title, unit=combined.meta.bunit_data or "")


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
