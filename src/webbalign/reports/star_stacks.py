"""A few stars of which all images are added up, as they lay before and after the alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from webbalign.core.planes import TangentPlane
from webbalign.products.alignment_products import AlignmentProducts
from webbalign.products.corrector import Correction
from webbalign.products.solutions import SolvedImage
from webbalign.products.solved_stars import StarTable
from webbalign.products.star_pixels import read_stamps
from webbalign.reports.page import Plot

__all__ = ["plot_stacks"]

Array = NDArray[np.float64]

_STARS, _CANDIDATES = 5, 15
# Half the width of a cut-out: at least, and at most (px); points to a pixel.
_LEAST, _MOST, _FINE = 8, 40, 3
# Images that are read; those of more are enough to see it.
_IMAGES = 40


@dataclass(frozen=True, eq=False)
class _Seen:
    """A star in an image.

    `place` is where it lies in the plane of the image (arcsec, uncorrected), `to_pixels` the
    derivative of pixels by that plane.
    """

    row: SolvedImage
    xy: Array
    place: Array
    to_pixels: Array


def plot_stacks(products: AlignmentProducts, prefix: str = "") -> Plot | None:
    """Draw stars before and after; None if no image is here, or no star is in two of them."""
    stars = _chosen(products)
    if not stars:
        return None
    half = _half_width(stars)
    stamps = _stamps(products, stars, half)
    found = []
    for sightings, pieces in zip(stars, stamps, strict=True):
        pair = [_stack(sightings, pieces, half, corrected=c) for c in (False, True)]
        # a saturated star has a hole in the middle
        middle = pair[1].shape[0] // 2
        if np.isfinite(pair[1][middle - 2 : middle + 3, middle - 2 : middle + 3]).all():
            found.append((len(sightings), pair))
        if len(found) == _STARS:
            break
    return _drawn(found, half * _scale(stars), prefix) if found else None


def _chosen(products: AlignmentProducts) -> list[list[_Seen]]:
    """Return the stars in the most groups, of these the brightest."""
    if products.stars is None:
        return []
    rows = {
        row.filename: row
        for row in products.solution.images
        if row.is_applied and row.filename in products.images
    }
    names = sorted(rows)[:_IMAGES]
    sightings: dict[int, list[_Seen]] = {}
    flux: dict[int, float] = {}
    for name in names:
        stars = products.stars.of(name)
        slopes = _slopes(stars)
        if slopes is None:
            continue
        for k in np.flatnonzero(stars.used & np.isfinite(stars.x)):
            number = int(stars.star[k])
            seen = _Seen(
                rows[name], np.array([stars.x[k], stars.y[k]]),
                np.array([stars.east[k], stars.north[k]]), slopes(stars.x[k], stars.y[k]),
            )  # fmt: skip
            sightings.setdefault(number, []).append(seen)
            flux[number] = max(flux.get(number, 0.0), float(np.nan_to_num(stars.flux[k])))

    def rank(number: int) -> tuple[int, int, float, int]:
        seen = sightings[number]
        return -len({s.row.group_id for s in seen}), -len(seen), -flux[number], number

    best = sorted((n for n in sightings if len(sightings[n]) > 1), key=rank)[:_CANDIDATES]
    return [sightings[number] for number in best]


def _slopes(stars: StarTable) -> Callable[[float, float], Array] | None:
    """Return the function that gives d(pixels) / d(plane) at a pixel; None with too few stars."""
    good = np.isfinite(stars.x)
    x, y = stars.x[good], stars.y[good]
    if len(x) < 4:
        return None
    size = max(np.ptp(x), np.ptp(y), 1.0)
    terms = [np.ones_like(x), x / size, y / size]
    if len(x) >= 12:
        terms += [(x / size) ** 2, x * y / size**2, (y / size) ** 2]
    places = np.stack([stars.east[good], stars.north[good]], axis=-1)
    fit = np.zeros((6, 2))
    fit[: len(terms)] = np.linalg.lstsq(np.stack(terms, axis=-1), places, rcond=None)[0]

    def at(px: float, py: float) -> Array:
        u, v = px / size, py / size
        jacobian = np.stack([fit[1] + 2 * u * fit[3] + v * fit[4],
                             fit[2] + u * fit[4] + 2 * v * fit[5]], axis=-1) / size  # fmt: skip
        return np.asarray(np.linalg.inv(jacobian), np.float64)

    return at


def _scale(stars: list[list[_Seen]]) -> float:
    """Return the size of a pixel, arcsec."""
    return float(1 / np.sqrt(abs(np.linalg.det(stars[0][0].to_pixels))))


def _on_sky(seen: _Seen, *, corrected: bool) -> Array:
    """Return the place of a star as a unit vector (3,)."""
    correction = seen.row.correction if corrected else Correction.none()
    return seen.row.plane.to_vectors(correction.apply(seen.place[None]))[0]


def _half_width(stars: list[list[_Seen]]) -> int:
    """Return half the width of the cut-outs, px: what was apart before is to be seen."""
    apart = 0.0
    for sightings in stars:
        vectors = np.array([_on_sky(seen, corrected=False) for seen in sightings])
        off = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).max()
        apart = max(apart, np.degrees(off) * 3600)
    return int(np.clip(1.4 * apart / _scale(stars), _LEAST, _MOST))


def _stamps(
    products: AlignmentProducts, stars: list[list[_Seen]], half: int
) -> list[list[NDArray[np.float32]]]:
    """Read the pieces of all images, one image at a time."""
    wanted: dict[str, list[tuple[int, int]]] = {}
    for i, sightings in enumerate(stars):
        for j, seen in enumerate(sightings):
            wanted.setdefault(seen.row.filename, []).append((i, j))
    pieces: list[list[NDArray[np.float32]]] = [
        [np.empty(0, np.float32)] * len(sightings) for sightings in stars
    ]
    for name, places in wanted.items():
        xy = np.array([stars[i][j].xy for i, j in places])
        # what lies apart is read as well
        for (i, j), stamp in zip(
            places, read_stamps(products.images[name], xy, 2 * half), strict=True
        ):
            pieces[i][j] = stamp
    return pieces


def _stack(
    sightings: list[_Seen], pieces: list[NDArray[np.float32]], half: int, *, corrected: bool
) -> Array:
    """Add up the pieces of a star on a grid, north up, east to the left."""
    vectors = np.array([_on_sky(seen, corrected=corrected) for seen in sightings])
    plane = TangentPlane.around(vectors)
    steps = np.arange(-half * _FINE, half * _FINE + 1) / _FINE * _scale([sightings])
    north, east = np.meshgrid(steps, -steps, indexing="ij")
    grid = np.stack([east.ravel(), north.ravel()], axis=-1)
    layers = []
    for seen, piece, vector in zip(sightings, pieces, vectors, strict=True):
        there, _ = plane.map_to(seen.row.plane, grid)
        here = seen.row.plane.from_vectors(vector[None])[0]
        corner = np.rint(seen.xy) - piece.shape[0] // 2
        x, y = ((there - here) @ seen.to_pixels.T + seen.xy - corner).T
        values = map_coordinates(piece.astype(float), [y, x], order=1, cval=np.nan)
        sky = np.nanmedian(piece) if np.isfinite(piece).any() else 0.0
        layers.append((values - sky).reshape(north.shape))
    known = np.isfinite(layers)
    total = np.where(known, layers, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _drawn(found: list[tuple[int, list[Array]]], half: float, prefix: str) -> Plot:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import AsinhNorm
    from matplotlib.figure import Figure

    columns = len(found)
    figure = Figure(figsize=(1.2 * max(columns, 3) + 0.5, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, squeeze=False)
    for (count, pair), column in zip(found, axes.T, strict=True):
        low = np.nanpercentile(pair[1], 30)
        pair = [image - low for image in pair]
        top = float(np.nanmax(pair[1]))
        norm = AsinhNorm(linear_width=max(top, 1e-12) / 15, vmin=-top / 30, vmax=max(top, 1e-12))
        for image, axis in zip(pair, column, strict=True):
            axis.imshow(image, origin="lower", cmap="gray_r", norm=norm,
                        extent=(half, -half, -half, half))  # fmt: skip
            axis.set(xticks=(), yticks=())
        column[0].set_title(f"{count} images", fontsize=9)
    axes[0, 0].set_ylabel("before")
    axes[1, 0].set_ylabel("after")
    return Plot(
        f"{prefix}stacks", "Stars before and after", figure,
        f"All images of a star added up where their WCS say that it is, {2 * half:.2g} arcsec "
        "wide, north up; one scale for both rows. Good: several, or a blurred one, above, and one "
        "sharp star below.",
        f"Cut-outs of {columns} stars, each the mean of {min(c for c, _ in found)} to "
        f"{max(c for c, _ in found)} images, before and after the alignment.",
    )  # fmt: skip
