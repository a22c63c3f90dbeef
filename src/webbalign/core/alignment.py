"""Alignment of a stack of references to science images: fit every pair, shift every reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from webbalign.core._shift_noise import ScoreMoments
from webbalign.core.fourier import Shifter, SparseFlags, shift_error, shift_positive
from webbalign.core.registration import AlignRefs, FitStatus, PsfFrame, Registrar, ShiftFit

__all__ = ["Frame", "PsfFrames", "References", "fit_frames", "fit_prepared", "prepare_frames"]


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
        Repaired: every pixel is finite. Single precision as in the files; every fit is
        in double precision.
    errors : ndarray
        Their one-sigma errors.
    flags : ndarray of uint32
        Data-quality flags.
    good : ndarray of bool
        False where `images` were repaired.
    keep_spectra : bool
        Whether the spectrum of each image is kept for further shifts (half a MB each at 320 x 320).
    """

    images: NDArray[np.float32]
    errors: NDArray[np.float32]
    flags: NDArray[np.uint32]
    good: NDArray[np.bool_]
    keep_spectra: bool = False
    _shifters: dict[tuple[int, int], Shifter] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _sparse: dict[int, SparseFlags] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.images)

    def _shifter(self, index: int, padding: int) -> Shifter:
        known = self._shifters.get((index, padding))
        shifter = known or Shifter(self.images[index], padding=padding, single=True)
        if self.keep_spectra:
            self._shifters[index, padding] = shifter
        return shifter

    def shifted(
        self,
        fits: Sequence[ShiftFit],
        options: AlignRefs,
        out: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]:
        """Return images, errors and flags, each moved back by its fitted shift.

        A reference whose fit failed stays where it is: a shift that was not measured may be
        anything.

        Parameters
        ----------
        fits : sequence of ShiftFit
            One for each reference.
        options : AlignRefs
        out : tuple of ndarray, optional
            Where to put them.

        Returns
        -------
        data, err, flags : ndarray, shape (npsfs, ny, nx)
        """
        shape = self.images.shape
        data, err, flags = out or (
            np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32)
        )  # fmt: skip
        for k, fit in enumerate(fits):
            dx, dy = (-fit.dx, -fit.dy) if fit.status is FitStatus.OK else (0.0, 0.0)
            self._shifter(k, options.shift_padding).shifted(dx, dy, out=data[k])
            self._shift_error(k, dx, dy, options, err[k])
            self._sparse_flags(k).shifted(dx, dy, out=flags[k])
        return data, err, flags

    def _sparse_flags(self, index: int) -> SparseFlags:
        found = self._sparse.get(index) or SparseFlags(self.flags[index])
        if self.keep_spectra:
            self._sparse[index] = found
        return found

    def _shift_error(
        self, index: int, dx: float, dy: float, options: AlignRefs, out: NDArray[np.float32]
    ) -> None:
        if options.err_shift != "variance" or not self._errors_known:
            how, padding = options.err_shift, options.shift_padding
            out[:] = shift_error(self.errors[index], dx, dy, how=how, padding=padding)
            return
        np.sqrt(shift_positive(np.square(self.errors[index]), dx, dy), out=out)

    @cached_property
    def _errors_known(self) -> bool:
        return bool(np.isfinite(self.errors).all())


class PsfFrames:
    """The references prepared for fits under one weight, each when it is first asked for.

    Parameters
    ----------
    references : References
    weight : ndarray, shape (ny, nx)
        1 = full use, 0 = ignored.
    options : AlignRefs
    keep : bool
        Whether the dearest part of them, what covariances are made of (0.1 MB each at 320 x 320),
        is kept for the next exposure.
    """

    def __init__(
        self,
        references: References,
        weight: NDArray[np.float64],
        options: AlignRefs,
        *,
        keep: bool = False,
    ) -> None:
        self.references, self.weight, self.options = references, weight, options
        self._keep = keep
        self._moments: dict[int, ScoreMoments] = {}

    def __iter__(self) -> Iterator[PsfFrame]:
        for index in range(len(self.references)):
            frame = self._prepare(index)
            if index in self._moments:
                frame.moments = self._moments[index]
            yield frame
            if self._keep and "moments" in vars(frame):
                self._moments[index] = frame.moments

    def _prepare(self, index: int) -> PsfFrame:
        stack = self.references
        variance = np.square(stack.errors[index], dtype=np.float64)
        known = _known(variance, stack.good[index], self.options)
        return PsfFrame(stack.images[index], self.weight, known)


def _known(
    variance: NDArray[np.float64], good: NDArray[np.bool_], options: AlignRefs
) -> NDArray[np.float64]:
    # a repaired pixel carries no information: with errors at hand it gets no weight
    by_errors = options.fit_weighting == "mask_and_errors"
    return np.where(good, variance, np.inf) if by_errors else variance


def prepare_frames(
    frames: Sequence[Frame], weight: NDArray[np.float64], options: AlignRefs
) -> list[Registrar]:
    """Prepare science images for the fits of references under one weight (ny, nx).

    A few of them: what is prepared for one takes ten times its memory.
    """
    return [
        Registrar(
            frame.image,
            weight,
            _known(frame.variance, frame.good, options),
            fit_weighting=options.fit_weighting,
        )
        for frame in frames
    ]


def fit_prepared(registrars: Sequence[Registrar], psfs: PsfFrames) -> list[list[ShiftFit]]:
    """Fit references to prepared science images; returns as :func:`fit_frames` does.

    What is prepared for a reference serves all frames.
    """
    fits: list[list[ShiftFit]] = [[] for _ in registrars]
    for psf in psfs:
        for registrar, of_frame in zip(registrars, fits, strict=True):
            of_frame.append(registrar.fit(psf))
    return fits


def fit_frames(frames: Sequence[Frame], psfs: PsfFrames) -> list[list[ShiftFit]]:
    """Fit shift and flux ratio of every reference relative to several science images.

    Parameters
    ----------
    frames : sequence of Frame
    psfs : PsfFrames

    Returns
    -------
    list of list of ShiftFit
        For each frame one fit per reference.
    """
    return fit_prepared(prepare_frames(frames, psfs.weight, psfs.options), psfs)
