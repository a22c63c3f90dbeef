"""What looks like a star and is none: rims of saturated stars, diffraction spikes, cosmic rays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.ndimage import label
from scipy.spatial import cKDTree

from webbalign.core._detection import Frame, neighbours, places

__all__ = ["BurntStars", "burnt_stars", "duplicates", "in_halo", "on_burnt"]

EIGHT = np.ones((3, 3), dtype=bool)
# A PSF's secondary maxima are fainter than this times (FWHM / distance)^2, in relation to its flux;
# the largest found in simulated PSFs are 0.3 between 1.5 and 2.5 FWHM, 0.15 beyond.
HALO = 0.3
INNER = 10.0  # FWHM; there the maxima can be as round as stars
# Of the telescope's spikes, seen in the frame of the detectors: six from the edges of the segments,
# two from the upper strut; the instruments are within some degrees of it.
SPIKES = np.deg2rad([0, 30, 90, 150, 180, 210, 270, 330])
SPIKE_WIDTH = np.deg2rad(8)
LONGEST = 3.0  # a lost core is no longer than this times the diameter of a disk of its size
RIM = 2.0  # FWHM from the lost core to where a star may stand on its own


@dataclass(frozen=True)
class BurntStars:
    """Stars whose cores are saturated; arrays (n,), 0-based px.

    Attributes
    ----------
    x, y, radius : ndarray
        Of the lost core.
    peak : ndarray
        What the core's brightest pixel would be, from the light at its rim; a rough number.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    peak: np.ndarray


def burnt_stars(
    frame: Frame, saturated: np.ndarray | None, threshold: float, fwhm: float
) -> BurntStars:
    """Find the cores that saturation has taken: bad pixels with a bright rim, in calibrated files.

    Parameters
    ----------
    frame : Frame
    saturated : ndarray (ny, nx) of bool or None
        Pixels flagged as saturated. Without it, four bad pixels in a square make a core.
    threshold : float
        Least level of the rim above the sky.
    fwhm : float
        px.
    """
    bad = ~frame.good[frame.margin : -frame.margin, frame.margin : -frame.margin]
    seeds = _blocks(bad) if saturated is None else bad & (saturated | _blocks(bad))
    if not seeds.any():
        return BurntStars(*np.zeros((4, 0)))
    cores = [_starlike(y, x, bad.shape, saturated) for y, x in _cores(bad, seeds)]
    stars = [_burnt_star(frame, y, x, fwhm) for y, x in cores if len(y)]
    kept = [star for star in stars if star[0] > threshold]
    return BurntStars(*np.array([star[1:] for star in kept]).reshape(-1, 4).T)


def _blocks(bad: np.ndarray) -> np.ndarray:
    """Bad pixels with which three others make a square."""
    pairs = bad[1:] & bad[:-1]
    blocks = np.zeros(bad.shape, dtype=bool)
    blocks[:-1, :-1] = pairs[:, 1:] & pairs[:, :-1]
    return blocks


def _cores(bad: np.ndarray, seeds: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the pixels (y, x) of each group of touching bad pixels that holds a seed."""
    labels, count = label(bad, EIGHT)
    seeded = np.zeros(count + 1, dtype=bool)
    seeded[labels[seeds]] = True
    # by pixel and not by box: that of the detector's dead border is the whole frame
    y, x = places(bad)
    number = labels[y, x]
    kept = seeded[number]
    y, x, number = y[kept], x[kept], number[kept]
    order = np.argsort(number, kind="stable")
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    return [(y[core], x[core]) for core in np.split(order, cuts)]


def _starlike(
    y: np.ndarray, x: np.ndarray, shape: tuple[int, ...], saturated: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a star may have burnt of touching bad pixels (y, x): all, or a part, or nothing.

    Dead borders, rows and the masks of coronagraphs are long or reach the edge: of these only the
    saturated pixels. Where nebulosity surrounds them they would be the brightest star of all.
    """
    extent = max(np.ptp(y), np.ptp(x)) + 1
    at_edge = min(y.min(), x.min()) == 0 or y.max() == shape[0] - 1 or x.max() == shape[1] - 1
    if not at_edge and extent <= LONGEST * 2 * np.sqrt(len(y) / np.pi):
        return y, x
    burnt = np.zeros(len(y), dtype=bool) if saturated is None else saturated[y, x]
    return y[burnt], x[burnt]


def _burnt_star(
    frame: Frame, y: np.ndarray, x: np.ndarray, fwhm: float
) -> tuple[float, float, float, float, float]:
    """Return the level of the rim, and x, y, radius and peak of the star with this core."""
    wide = frame.image.shape[1]
    pixels = (y + frame.margin) * wide + x + frame.margin
    near = (pixels[:, None] + neighbours(wide)).ravel()
    rim = np.unique(near[frame.good.ravel()[near]])
    if not len(rim):
        return -np.inf, 0.0, 0.0, 0.0, 0.0
    level = float(np.median(frame.image.ravel()[rim]))
    radius = np.sqrt(len(y) / np.pi)
    return level, x.mean(), y.mean(), radius, level / _profile((radius + 0.5) / fwhm)


def _profile(distance: float) -> float:
    """Brightness relative to the peak at a distance in FWHM: a Gaussian core, then a power law."""
    return float(max(np.exp(-2.77 * distance**2), 0.02 * (1.6 / max(distance, 1.6)) ** 3))


def on_burnt(x: np.ndarray, y: np.ndarray, burnt: BurntStars, fwhm: float) -> np.ndarray:
    """Tell which positions (n,) are on the rim of a saturated star: ndarray (n,) of bool."""
    on = np.zeros(len(x), dtype=bool)
    for bx, by, radius in zip(burnt.x, burnt.y, burnt.radius, strict=True):
        on |= np.hypot(x - bx, y - by) < radius + RIM * fwhm
    return on


def in_halo(
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    suspect: np.ndarray,
    fwhm: float,
    bright: np.ndarray | None = None,
) -> np.ndarray:
    """Tell which sources may be parts of the image of a brighter one.

    Parameters
    ----------
    x, y, flux : ndarray (n,)
        Sources; fluxes (or peaks) of one kind.
    suspect : ndarray (n,) of bool
        Sources that do not look like a star. Beyond the inner region only these are refused, and
        those in the directions of the spikes.
    fwhm : float
        px.
    bright : ndarray (m, 3), optional
        Further bright stars: x, y, flux.

    Returns
    -------
    ndarray (n,) of bool
    """
    centres = np.stack([x, y, flux], axis=1)
    if bright is not None:
        centres = np.concatenate([centres, bright])
    refused = np.zeros(len(x), dtype=bool)
    if not (flux > 0).any():
        return refused
    faintest = flux[flux > 0].min()
    centres = centres[centres[:, 2] > faintest / HALO]
    reach = np.sqrt(centres[:, 2] * HALO / faintest) * fwhm
    near = cKDTree(np.stack([x, y], axis=1)).query_ball_point(centres[:, :2], reach)
    source = np.fromiter(chain.from_iterable(near), dtype=int)
    centre = np.repeat(np.arange(len(centres)), [len(group) for group in near])
    dx, dy = (x[source] - centres[centre, 0]) / fwhm, (y[source] - centres[centre, 1]) / fwhm
    distance2 = dx**2 + dy**2
    halo = flux[source] < centres[centre, 2] * HALO / np.maximum(distance2, 1.0)
    halo &= (distance2 > 0) & (suspect[source] | (distance2 < INNER**2) | _on_spike(dx, dy))
    refused[source[halo]] = True
    return refused


def _on_spike(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    apart = np.arctan2(dy, dx)[:, None] - SPIKES
    on: np.ndarray = (np.abs((apart + np.pi) % (2 * np.pi) - np.pi) < SPIKE_WIDTH).any(axis=1)
    return on


def duplicates(x: np.ndarray, y: np.ndarray, flux: np.ndarray, separation: float) -> np.ndarray:
    """Mark the fainter of any two sources closer than `separation` (px): ndarray (n,) of bool."""
    pairs = cKDTree(np.stack([x, y], axis=1)).query_pairs(separation, output_type="ndarray")
    marked = np.zeros(len(x), dtype=bool)
    marked[np.where(flux[pairs[:, 0]] < flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])] = True
    return marked
