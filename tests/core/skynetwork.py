"""Star fields seen through detectors of exposures whose pointing is known wrongly."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from webbalign.core.planes import ARCSEC, TangentPlane, sky_to_vectors, vectors_to_sky
from webbalign.core.starlists import ReferenceStars, StarList

# middles and half sizes of four short-wave detectors and a long-wave one that covers them, arcsec
DETECTORS = (
    (-33.0, -33.0, 32.0),
    (33.0, -33.0, 32.0),
    (-33.0, 33.0, 32.0),
    (33.0, 33.0, 32.0),
    (0.0, 0.0, 64.0),
)
ABOUT = TangentPlane.about(150.1, 2.2)


def turned(plane, x, y, roll):
    """The plane moved by (x, y) arcsec along its axes and then rolled by degrees."""
    move = Rotation.from_rotvec(np.array([-y, x, 0.0]) * ARCSEC).as_matrix()
    spin = Rotation.from_rotvec([0.0, 0.0, np.radians(roll)]).as_matrix()
    return TangentPlane(spin.T @ move.T @ plane.axes)


@dataclass
class Sky:
    """Lists as they come, and the truth behind them.

    `truth[i]` is the plane in which the positions of list i really are; `label[i]` the number of
    the star of each row, -1 for what is none.
    """

    lists: list
    truth: list
    label: list
    stars: np.ndarray
    stretch: list

    def reference(self, noise=0.0, seed=9, share=1.0, sigma=None):
        rng = np.random.default_rng(seed)
        keep = rng.uniform(size=len(self.stars)) < share
        plane = ABOUT.from_vectors(self.stars[keep])
        sky = ABOUT.to_sky(plane + rng.normal(0, noise, plane.shape))
        return ReferenceStars(sky, max(noise, 1e-4) if sigma is None else sigma, 1.0, np.nan)

    def errors(self, corrections, like=None, which=None):
        """Where corrected grids of pixels lie less where they should, arcsec, (images, n, 2).

        With `like`, an index, the sky is that which this image believes in.
        """
        turn = np.eye(3)
        if like is not None:
            turn = self.lists[like].plane.axes.T @ self.truth[like].axes
        found = []
        for k in range(len(self.lists)) if which is None else which:
            stars, truth = self.lists[k], self.truth[k]
            grid = grid_of(stars.outline)
            right = truth.to_vectors(grid * self.stretch[k]) @ turn.T
            plane = TangentPlane.around(right)
            there = plane.from_vectors(stars.plane.to_vectors(corrections[k].apply(grid)))
            found.append(there - plane.from_vectors(right))
        return np.array(found)


def grid_of(outline, n=7):
    low, high = outline.min(axis=0), outline.max(axis=0)
    x, y = np.meshgrid(*(np.linspace(low[k], high[k], n) for k in range(2)))
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def rms(errors):
    """Root mean square distance in mas."""
    return 1e3 * np.sqrt(np.mean(np.sum(np.square(errors), axis=-1)))


def sky(
    seed=0,
    visits=2,
    dithers=4,
    detectors=5,
    density=0.03,
    noise=(0.0005, 0.005),
    spurious=0.3,
    missing=0.2,
    pointing=0.6,
    roll=0.01,
    jitter=0.003,
    step=8.0,
    group_by="exposure",
    visit_shift=(30.0, 20.0),
    scale=0.0,
):
    """Make lists of stars: `density` per square arcsec, one-axis `noise` between limits, arcsec."""
    rng = np.random.default_rng(seed)
    half = 90.0 + step * dithers + visits * max(map(abs, visit_shift))
    n = rng.poisson(density * 4 * half**2)
    stars = ABOUT.to_vectors(rng.uniform(-half, half, (n, 2)))
    flux = 10 ** rng.uniform(1, 4, n)
    found = Sky([], [], [], stars, [])
    for visit in range(visits):
        wrong = rng.uniform(-pointing, pointing, 2)
        wrong_roll = rng.normal(0, roll)
        for dither in range(dithers):
            move = np.array(visit_shift) * visit + rng.uniform(-step, step, 2)
            true = turned(ABOUT, *move, 15.0 * visit)
            jit = rng.normal(0, jitter, 2)
            believed = turned(true, *(wrong + jit), wrong_roll)
            for detector in range(detectors):
                x, y, size = DETECTORS[detector]
                exposure = f"v{visit}d{dither}"
                name = f"{exposure}_{detector}"
                group = {"exposure": exposure, "image": name}[group_by]
                stretch = 1.0 + rng.normal(0, scale) if scale else 1.0
                _add(
                    found,
                    rng,
                    flux,
                    (turned(true, x, y, 0.0), turned(believed, x, y, 0.0)),
                    (name, group, size, noise, spurious, missing, stretch),
                )
    return found


def _add(found, rng, flux, planes, how):
    name, group, size, noise, spurious, missing, stretch = how
    truth, believed = planes
    with np.errstate(invalid="ignore"):
        xy = truth.from_vectors(found.stars)
    inside = np.flatnonzero((np.abs(xy) < size).all(axis=1))
    inside = inside[rng.uniform(size=len(inside)) >= missing]
    sigma = 10 ** rng.uniform(*np.log10(noise), len(inside))
    xy = xy[inside] / stretch + rng.normal(0, 1, (len(inside), 2)) * sigma[:, None]
    extra = rng.poisson(spurious * len(inside))
    xy = np.concatenate([xy, rng.uniform(-size, size, (extra, 2))])
    sigma = np.concatenate([sigma, 10 ** rng.uniform(*np.log10(noise), extra)])
    label = np.concatenate([inside, np.full(extra, -1)])
    bright = np.concatenate([flux[inside], 10 ** rng.uniform(1, 4, extra)])
    order = rng.permutation(len(xy))
    outline = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * size
    found.lists.append(
        StarList(
            name,
            group,
            believed,
            xy[order],
            sigma[order],
            bright[order],
            1.0,
            outline,
            0.031 if size < 50 else 0.063,
            0.05 if size < 50 else 0.1,
        )
    )
    found.truth.append(truth)
    found.stretch.append(stretch)
    found.label.append(label[order])


__all__ = ["ABOUT", "Sky", "grid_of", "rms", "sky", "turned", "vectors_to_sky", "sky_to_vectors"]
