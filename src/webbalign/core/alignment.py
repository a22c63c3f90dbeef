"""Alignment of a stack of references to science images: fit every pair, shift every reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core.fourier import Shifter, shift_error, shift_flags
from webbalign.core.registration import AlignRefs, FitStatus, PsfFrame, Registrar, ShiftFit

__all__ = ["Frame", "References", "fit_frames"]


@dataclass(frozen=True)
class Frame:
    """A science image to align to; all arrays are (ny, nx).

    Attributes
    ----------
    image : ndarray
        Repaired: every pixel is finite.
    variance : ndarray
        Its variance.
    good : ndarray of bool
        False where `image` was repaired.
    """

    image: NDArray[np.float64]
    variance: NDArray[np.float64]
    good: NDArray[np.bool_]


@dataclass(frozen=True)
class References:
    """Reference images to be aligned; all arrays are (npsfs, ny, nx).

    Attributes
    ----------
    images : ndarray of float32
        Repaired: every pixel is finite. Single precision as in the files; every fit and shift
        is in double precision.
    errors : ndarray
        Their one-sigma errors.
    flags : ndarray of uint32
        Data-quality flags.
    good : ndarray of bool
        False where `images` were repaired.
    """

    images: NDArray[np.float32]
    errors: NDArray[np.float32]
    flags: NDArray[np.uint32]
    good: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def shifted(
        self, fits: Sequence[ShiftFit], options: AlignRefs
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]:
        """Return images, errors and flags, each moved back by its fitted shift.

        A reference whose fit failed stays where it is: a shift that was not measured may be
        anything.

        Returns
        -------
        data, err, flags : ndarray, shape (npsfs, ny, nx)
        """
        shape = self.images.shape
        data, err = np.empty(shape, np.float32), np.empty(shape, np.float32)
        flags = np.empty(shape, np.uint32)
        for k, fit in enumerate(fits):
            dx, dy = (-fit.dx, -fit.dy) if fit.status is FitStatus.OK else (0.0, 0.0)
            data[k] = Shifter(self.images[k], padding=options.shift_padding).shifted(dx, dy)
            err[k] = shift_error(
                self.errors[k], dx, dy, how=options.err_shift, padding=options.shift_padding
            )
            flags[k] = shift_flags(self.flags[k], dx, dy)
        return data, err, flags


def fit_frames(
    frames: Sequence[Frame],
    references: References,
    weight: NDArray[np.float64],
    options: AlignRefs,
) -> list[list[ShiftFit]]:
    """Fit shift and flux ratio of every reference relative to several science images.

    Parameters
    ----------
    frames : sequence of Frame
        A few of them: what is prepared for a frame takes ten times its memory, and what is
        prepared for a reference serves all frames.
    references : References
    weight : ndarray, shape (ny, nx)
        1 = full use, 0 = ignored.
    options : AlignRefs

    Returns
    -------
    list of list of ShiftFit
        For each frame one fit per reference.
    """
    by_errors = options.fit_weighting == "mask_and_errors"
    registrars = [
        Registrar(
            frame.image,
            # a repaired pixel carries no information: with errors at hand it gets no weight
            weight * frame.good if by_errors else weight,
            frame.variance,
            fit_weighting=options.fit_weighting,
        )
        for frame in frames
    ]
    fits: list[list[ShiftFit]] = [[] for _ in frames]
    for image, error, good in zip(
        references.images, references.errors, references.good, strict=True
    ):
        variance = np.square(error, dtype=np.float64)
        if by_errors:
            variance[~good] = np.inf
            for registrar, of_frame in zip(registrars, fits, strict=True):
                of_frame.append(registrar.fit(image, variance))
        else:
            psf = PsfFrame(image, weight, variance)
            for registrar, of_frame in zip(registrars, fits, strict=True):
                of_frame.append(registrar.fit(psf))
    return fits
