"""Star lists as finders really give them: cores missing, sources beside stars, hot pixels."""

import numpy as np

from tests.core.skynetwork import ABOUT, Sky, turned
from webbalign.core.starlists import ReferenceStars, StarList

HALF = 32.0
SPIKE = (-0.14, 0.11, 4.5)
OUTLINE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * HALF


def dirty_sky(
    seed,
    *,
    exposures=4,
    step=3.0,
    density=0.05,
    slope=0.2,
    saturation=None,
    features=(),
    chance=0.8,
    artefacts=0,
    depth=23.0,
    limit=20.5,
    share=1.0,
    pointing=0.8,
    jitter=0.003,
    fluxes=True,
    magnitudes=True,
):
    """Lists of one visit of one detector, and a catalog of the stars brighter than a limit.

    Stars brighter than `saturation` (mag) have no core in the lists. `features` (x, y, mag) lie
    beside the bright ones (those, else stars above 17), so much fainter, each found with a
    probability `chance`. `artefacts` are sources that are fixed in the detector.
    """
    rng = np.random.default_rng(seed)
    half = HALF + 2 * step + 10.0
    n = rng.poisson(density * 4 * half**2)
    xy = rng.uniform(-half, half, (n, 2))
    faintest, brightest = 10 ** (slope * 25.0), 10 ** (slope * 14.0)
    magnitude = np.log10(brightest + rng.uniform(size=n) * (faintest - brightest)) / slope
    bright = 17.0 if saturation is None else saturation
    beside = [(magnitude < bright) & (rng.uniform(size=n) < chance) for _ in features]
    pixels, pixel_mag = rng.uniform(-HALF, HALF, (artefacts, 2)), rng.uniform(19, 23, artefacts)
    found = Sky([], [], [], ABOUT.to_vectors(xy), [1.0] * exposures)
    wrong = rng.uniform(-pointing, pointing, 2)
    for k in range(exposures):
        true = turned(ABOUT, *(rng.uniform(-step, step, 2) * (k > 0)), 10.0)
        believed = turned(true, *(wrong + rng.normal(0, jitter, 2)), rng.normal(0, 0.003))
        at = true.from_vectors(found.stars)
        seen = (np.abs(at) < HALF).all(axis=1) & (rng.uniform(size=n) > 0.1)
        cores = seen & (magnitude < depth)
        if saturation is not None:
            cores &= magnitude > saturation
        places, mags = [at[cores], pixels], [magnitude[cores], pixel_mag]
        for (x, y, fainter), has in zip(features, beside, strict=True):
            own = seen & has
            places.append(at[own] + [x, y])
            mags.append(magnitude[own] + fainter + rng.normal(0, 0.2, own.sum()))
        extra = rng.poisson(0.2 * cores.sum())
        places.append(rng.uniform(-HALF, HALF, (extra, 2)))
        mags.append(rng.uniform(19, depth, extra))
        place, mag = np.concatenate(places), np.concatenate(mags)
        sigma = 10 ** rng.uniform(-3.3, -2.3, len(place))
        place = place + rng.normal(0, 1, place.shape) * sigma[:, None]
        label = np.full(len(place), -1)
        label[: cores.sum()] = np.flatnonzero(cores)
        order = rng.permutation(len(place))
        flux = 10 ** (-0.4 * (mag - 25.0)) if fluxes else np.full(len(mag), np.nan)
        found.lists.append(
            StarList(
                f"e{k}", f"e{k}", believed, place[order], sigma[order], flux[order], 1.0, OUTLINE,
                0.031, 0.05,
            )
        )  # fmt: skip
        found.truth.append(true)
        found.label.append(label[order])
    listed = (magnitude < limit) & (rng.uniform(size=n) < share)
    catalog = xy[listed] + rng.normal(0, 0.001, (listed.sum(), 2))
    mag = magnitude[listed] + rng.normal(0, 0.3, listed.sum())
    reference = ReferenceStars(
        ABOUT.to_sky(catalog), 0.001, 1.0, mag if magnitudes else np.nan, name="gaia.ecsv"
    )
    return found, reference
