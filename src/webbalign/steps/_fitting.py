"""The fits of all references to some integrations: one task of the alignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from webbalign.core.alignment import Frame, fit_prepared, prepare_frames
from webbalign.core.registration import ShiftFit
from webbalign.products.shared_cubes import CubeFile, SharedCube
from webbalign.steps._references import SharedReferences, repaired

__all__ = ["FitJob", "MeanJob", "fit_blocks"]

# Science images that are fitted together: they share what is prepared for a reference, and what is
# prepared for one of them takes ten times its memory.
BLOCK = 10


@dataclass(frozen=True, eq=False)
class FitJob:
    """Fits every reference to some integrations of an exposure; called with a slice of them.

    Attributes
    ----------
    science : SharedCube or CubeFile
        The exposure, (nints, ny, nx).
    outside : ndarray of bool, shape (ny, nx)
        Pixels that are no part of the sky in any integration.
    weight : ndarray, shape (ny, nx)
    references : SharedReferences
    name : str, optional
        The file of the exposure, for errors.
    """

    science: SharedCube | CubeFile
    outside: np.ndarray
    weight: np.ndarray
    references: SharedReferences
    name: str | None

    def __call__(self, part: slice) -> list[list[ShiftFit]]:
        """Return for each integration one fit per reference."""
        return self.fit(list(self.frames(part)))

    def frames(self, part: slice) -> Iterator[Frame]:
        """Yield the images that are fitted to."""
        options = self.references.options
        images = self.science.read(part)
        data, err, good = repaired(images, options, self.outside, self.name)
        variances = np.square(np.nan_to_num(err), dtype=np.float64)
        for frame in zip(data, variances, good, strict=True):
            yield Frame(*frame)

    def fit(self, frames: list[Frame]) -> list[list[ShiftFit]]:
        """Fit every reference to these images."""
        registrars = prepare_frames(frames, self.weight, self.references.options)
        fits: list[list[ShiftFit]] = [[] for _ in frames]
        for _, psfs in self.references.frames(self.weight):
            for of_frame, found in zip(fits, fit_prepared(registrars, psfs), strict=True):
                of_frame += found
        return fits


@dataclass(frozen=True, eq=False)
class MeanJob(FitJob):
    """Fits to the mean of those integrations that have a signal."""

    def __call__(self, part: slice) -> list[list[ShiftFit]]:
        """Return one fit per reference, in a list of its own."""
        shape = self.science.shape[1:]
        total, variance, known, count = np.zeros(shape), np.zeros(shape), np.ones(shape, bool), 0
        for index in range(*part.indices(self.science.shape[0])):
            (frame,) = self.frames(slice(index, index + 1))
            if frame.image.any():
                total += frame.image
                variance += frame.variance
                known &= frame.good
                count += 1
        return self.fit([Frame(total / count, variance / count**2, known)])


def fit_blocks(start: int, stop: int, workers: int, most: int = BLOCK) -> list[slice]:
    """Cut integrations into blocks of nearly equal size, as many for each worker.

    Parameters
    ----------
    start, stop : int
    workers : int
    most : int
        Largest block.
    """
    n = stop - start
    blocks = -(-n // min(most, BLOCK))
    blocks = min(-(-blocks // workers) * workers, n)
    edges = [start + k * n // blocks for k in range(blocks + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
