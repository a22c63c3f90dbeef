"""Wavefront errors of a segmented telescope, drawn with poppy."""

from __future__ import annotations

import numpy as np

__all__ = ["GAP", "PUPIL_WIDTH", "SEGMENT", "drift_modes", "static_error"]

PUPIL_WIDTH = 6.7  # m, a little more than the primary
SEGMENT = 1.32  # m, flat to flat
GAP = 0.01  # m
STATIC_NM = 75.0  # rms of the static wavefront error


def _segments(n: int, rotation: float, pistons: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """OPD (n, n) of the 18 segments moved by pistons (18,) and tilts (18, 2), in m and rad."""
    import astropy.units as u
    import poppy

    mirror = poppy.dms.HexSegmentedDeformableMirror(
        rings=2,
        flattoflat=SEGMENT * u.m,
        gap=GAP * u.m,
        center=False,
        rotation=rotation,
    )
    for number, piston, (tip, tilt) in zip(mirror.segmentlist, pistons, tilts, strict=True):
        mirror.set_actuator(number, piston * u.m, tip * u.radian, tilt * u.radian)
    opd = mirror.sample(npix=n, grid_size=PUPIL_WIDTH, what="opd")
    return np.nan_to_num(np.asarray(opd, np.float64))


def _zernikes(n: int, coefficients: list[float]) -> np.ndarray:
    """Sum (n, n) of Noll's Zernike polynomials 1, 2, ... over the circle about the pupil."""
    import poppy

    opd = poppy.zernike.opd_from_zernikes(coefficients, npix=n, outside=0.0)
    return np.asarray(opd, np.float64)


def _ripples(n: int, index: float, seed: int) -> np.ndarray:
    """Draw a random surface (n, n) whose power falls with frequency ** -index."""
    import astropy.units as u
    import poppy

    surface = poppy.wfe.StatisticalPSDWFE(
        index=index, wfe=1 * u.m, radius=PUPIL_WIDTH / 2 * u.m, seed=seed
    )
    return np.asarray(surface.sample(npix=n, grid_size=PUPIL_WIDTH, what="opd"), np.float64)


def _unit(opd: np.ndarray, pupil: np.ndarray) -> np.ndarray:
    """`opd` without its mean and tilt, with an rms of 1 over the pupil.

    Tilt is the pointing, which the simulation sets by itself.
    """
    y, x = np.mgrid[: pupil.shape[0], : pupil.shape[1]]
    inside = pupil > 0
    design = np.stack([np.ones(inside.sum()), x[inside], y[inside]], axis=1)
    weight = pupil[inside].astype(np.float64)
    root = np.sqrt(weight)
    solution, *_ = np.linalg.lstsq(design * root[:, None], opd[inside] * root, rcond=None)
    flat = np.where(inside, opd - solution[0] - solution[1] * x - solution[2] * y, 0.0)
    return flat / np.sqrt(np.average(flat[inside] ** 2, weights=weight))


def static_error(pupil: np.ndarray, rotation: float) -> np.ndarray:
    """Return the wavefront error that never changes.

    Parameters
    ----------
    pupil : ndarray (n, n)
        Amplitude transmission.
    rotation : float
        Of the segments, degrees.

    Returns
    -------
    ndarray (n, n)
        m, with an rms of 75 nm over the pupil.
    """
    n = len(pupil)
    rng = np.random.default_rng(18)
    segments = _segments(
        n, rotation, 30e-9 * rng.standard_normal(18), 60e-9 * rng.standard_normal((18, 2))
    )
    smooth = _zernikes(n, [0, 0, 0, 0.5, -0.7, 0.6, 0.4, -0.4, 0.3, -0.3, 0.5])
    shape = (
        0.6 * _unit(segments, pupil)
        + 0.4 * _unit(smooth, pupil)
        + 0.6 * _unit(_ripples(n, 2.2, 5), pupil)
    )
    return (STATIC_NM * 1e-9 * _unit(shape, pupil)).astype(np.float32)


def drift_modes(pupil: np.ndarray, rotation: float) -> np.ndarray:
    """Return the shapes that drift: segments' tilts, their pistons, bending, fine ripples.

    Parameters
    ----------
    pupil : ndarray (n, n)
        Amplitude transmission.
    rotation : float
        Of the segments, degrees.

    Returns
    -------
    ndarray (4, n, n)
        Each without piston and tilt, with an rms of 1 over the pupil.
    """
    n = len(pupil)
    rng = np.random.default_rng(6)
    still = np.zeros((18, 2))
    shapes = [
        _segments(n, rotation, np.zeros(18), 1e-7 * rng.standard_normal((18, 2))),
        _segments(n, rotation, 1e-7 * rng.standard_normal(18), still),
        _zernikes(n, [0, 0, 0, 0.6, 0.6, -0.5, 0.3, 0.2]),
        _ripples(n, 1.8, 7),
    ]
    return np.stack([_unit(shape, pupil) for shape in shapes]).astype(np.float32)
