"""Two lists of the same stars, as two exposures and their finders would give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 66.0
NOISE = 0.005


@dataclass(frozen=True)
class Pair:
    """Positions (n, 2) and fluxes (n,) of an image and a reference; numbers of the true stars."""

    image: np.ndarray
    image_flux: np.ndarray
    image_id: np.ndarray
    reference: np.ndarray
    reference_flux: np.ndarray
    reference_id: np.ndarray


def _seen(rng, xy, flux, number, half, spurious, missing, noise):
    """A list of what a finder finds: some stars are missing, some detections are no stars."""
    keep = rng.random(len(xy)) >= missing
    xy, flux, number = xy[keep], flux[keep], number[keep]
    n = round(spurious * len(xy))
    xy = np.concatenate([xy + rng.normal(0, noise, xy.shape), rng.uniform(-half, half, (n, 2))])
    flux = np.concatenate([flux * 10 ** rng.normal(0, 0.03, len(flux)), 10 ** rng.uniform(0, 3, n)])
    number = np.concatenate([number, np.full(n, -1)])
    order = rng.permutation(len(xy))
    return xy[order], flux[order], number[order]


def moved(xy, shift, roll):
    """Turn about the origin by `roll` (rad, x to y), then shift."""
    cosine, sine = np.cos(roll), np.sin(roll)
    return xy @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def star_pair(
    rng, n, *, shift=(0.0, 0.0), roll=0.0, spurious=0.3, missing=0.2, noise=NOISE, side=SIDE
):
    """Lists of `n` stars of an image, and of all on four times the area, before spurious ones.

    ``moved(image, shift, roll)`` is the reference.
    """
    n_all = 4 * n
    xy = rng.uniform(-side, side, (n_all, 2))
    xy[:n] = rng.uniform(-side / 2, side / 2, (n, 2))
    outside = np.abs(xy[n:]).max(axis=1) > side / 2
    xy = np.concatenate([xy[:n], xy[n:][outside]])
    flux = 10 ** rng.uniform(0, 3, len(xy))
    number = np.arange(len(xy))
    image = moved(xy[:n] - shift, (0, 0), -roll)
    first = _seen(rng, image, flux[:n], number[:n], side / 2, spurious, missing, noise)
    second = _seen(rng, xy, flux, number, side, spurious, missing, noise)
    return Pair(*first, *second)
