"""Small coronagraphic scenes with a known answer, for the tests of the subtraction.

A pupil with a static wavefront, a mask in the focal plane, a Lyot stop; the images of star and
reference differ by pointing (dithers, jitter) and by a drift of the wavefront.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = ["Coronagraph", "Sequence", "observe"]

N_PUPIL = 64
N_MASK = 64


class Coronagraph:
    """Images in which the star is always at the centre; lengths in units of lambda / D."""

    def __init__(self, size: int, pixels_per_resel: float, mask: str, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        axis = (np.arange(N_PUPIL) - (N_PUPIL - 1) / 2) / N_PUPIL
        self.x, self.y = np.meshgrid(axis, axis)
        radius = np.hypot(self.x, self.y)
        self.pupil = (radius < 0.5) & (radius > 0.1)
        self.stop = (radius < 0.44) & (radius > 0.14)
        self.static = self.wavefront(rng, 0.12, 8.0)
        focal = (np.arange(N_MASK) - (N_MASK - 1) / 2) * 0.4
        fx, fy = np.meshgrid(focal, focal)
        self.four_quadrants = mask == "4qpm"
        # what is taken away from the focal plane (Babinet), and what is left for the 4QPM
        self.blocked = np.exp(-((np.hypot(fx, fy) / 4.0) ** 2))
        self.kept = np.sign(fx) * np.sign(fy)
        self.to_focus = np.exp(-2j * np.pi * np.outer(focal, axis))
        self.mask_norm = 0.4 / N_PUPIL
        sky = (np.arange(size) - (size - 1) / 2) / pixels_per_resel
        self.to_sky = np.exp(-2j * np.pi * np.outer(sky, axis)) / N_PUPIL
        self.pixels_per_resel = pixels_per_resel

    def wavefront(self, rng: np.random.Generator, rms: float, cycles: float) -> np.ndarray:
        """Return a random wavefront, rms in waves, with structure up to so many cycles."""
        opd = np.zeros_like(self.x)
        for _ in range(60):
            kx, ky = rng.normal(size=2) * cycles / 2
            amplitude = 1.0 / (1.0 + np.hypot(kx, ky))
            opd += amplitude * np.sin(
                2 * np.pi * (kx * self.x + ky * self.y) + rng.uniform(0, 2 * np.pi)
            )
        opd -= opd[self.pupil].mean()
        return opd * rms / opd[self.pupil].std()

    def image(
        self, offset: np.ndarray, drift: np.ndarray | float = 0.0, *, masked: bool = True
    ) -> np.ndarray:
        """Return the image of a star of flux 1 `offset` lambda/D from the mask's centre."""
        tilt = np.exp(2j * np.pi * (offset[0] * self.x + offset[1] * self.y))
        field = self.pupil * np.exp(2j * np.pi * (self.static + drift)) * tilt
        if masked:
            focus = self.to_focus @ field @ self.to_focus.T
            focus = focus * (self.kept if self.four_quadrants else self.blocked)
            back = self.to_focus.conj().T @ focus @ self.to_focus.conj() * self.mask_norm**2
            field = back if self.four_quadrants else field - back
        field = field * self.stop / tilt
        intensity = np.abs(self.to_sky @ field @ self.to_sky.T) ** 2
        return intensity / self.pupil.sum() * N_PUPIL**2 / self.pixels_per_resel**2

    def companion(self, x: float, y: float) -> np.ndarray:
        """Return the image of a source of flux 1, (x, y) lambda/D from the star, off the mask."""
        shift = np.exp(-2j * np.pi * (x * self.x + y * self.y))
        field = self.stop * np.exp(2j * np.pi * self.static) * shift
        intensity = np.abs(self.to_sky @ field @ self.to_sky.T) ** 2
        return intensity / self.pupil.sum() * N_PUPIL**2 / self.pixels_per_resel**2


@dataclass(frozen=True)
class Sequence:
    """Science and references with their true variances; `truth` is the sky without the star."""

    science: np.ndarray
    variances: np.ndarray
    references: np.ndarray
    reference_variances: np.ndarray
    groups: np.ndarray
    truth: np.ndarray
    radius: np.ndarray

    def pulls(self, residual: np.ndarray, variance: np.ndarray, edges: list[float]) -> np.ndarray:
        """Standard deviation of (residual - truth) / error in rings, edges in px.

        An image of zero mean has an arbitrary zero level: its median is taken for that.
        """
        wrong = residual - self.truth
        wrong = wrong - np.nanmedian(wrong, axis=(-2, -1), keepdims=True)
        pull = wrong / np.sqrt(variance)
        rings = pairwise(edges)
        return np.array(
            [np.nanstd(pull[..., (self.radius >= a) & (self.radius < b)]) for a, b in rings]
        )


def observe(
    coronagraph: Coronagraph,
    *,
    nints: int,
    ndithers: int = 9,
    ref_nints: int = 4,
    drift: float = 1.5e-3,
    flux: float = 2e9,
    ref_flux: float = 1.3,
    companion: tuple[float, float, float] | None = None,
    seed: int = 0,
) -> Sequence:
    """Simulate a dithered reference star and a science star.

    Dithers of 0.13 lambda/D, jitter of 0.015, drift in waves rms; fluxes in electrons of the
    star without mask; background of 600 electrons. `companion` is (contrast, x, y).
    """
    rng = np.random.default_rng(seed)
    steps = [(0.0, 0.0), *((a, b) for a in (0, 1, -1) for b in (0, 1, -1) if (a, b) != (0, 0))]
    references, science, groups = [], [], []
    for k in range(ndithers):
        for _ in range(ref_nints):
            offset = 0.13 * np.array(steps[k]) + rng.normal(size=2) * 0.015
            references.append(coronagraph.image(offset) * flux * ref_flux)
            groups.append(k)
    changed = coronagraph.wavefront(rng, drift, 4.0)
    truth = np.zeros_like(references[0])
    if companion is not None:
        contrast, x, y = companion
        truth = flux * contrast * coronagraph.companion(x, y)
    for _ in range(nints):
        offset = np.array([0.03, -0.02]) + rng.normal(size=2) * 0.015
        science.append(coronagraph.image(offset, changed) * flux + truth)
    variances, reference_variances = np.array(science) + 600.0, np.array(references) + 600.0
    middle = (len(truth) - 1) / 2
    y, x = np.indices(truth.shape)
    return Sequence(
        np.array(science) + rng.normal(size=variances.shape) * np.sqrt(variances),
        variances,
        np.array(references)
        + rng.normal(size=reference_variances.shape) * reference_variances**0.5,
        reference_variances,
        np.array(groups),
        truth,
        np.hypot(x - middle, y - middle),
    )
