"""Temporal outliers in a stack: cosmic rays and unstable pixels, but not the moving star."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError, OptionError
from webbalign.core.mapped import visit
from webbalign.core.motion import Motion, find_zone, model_motion
from webbalign.core.options import Options, opt
from webbalign.core.stack_median import robust_variance, stack_median

__all__ = ["OutlierDetection", "OutlierStatus", "Outliers", "find_outliers"]

Mask = NDArray[np.bool_]

# Pixels treated at a time, as many as the median sorts at a time; fewer with more values than this.
PIXELS = 16384
VALUES = 1_000_000


@dataclass(frozen=True)
class OutlierDetection(Options):
    """Flag what differs from the median over the integrations by more than `snr` errors.

    With ``jitter_scale=0, missing_err="zero", min_integrations=1, flag_bad=True`` the flags are
    those of jwst 3.0.0, to the bit.
    """

    good_bits: str | None = opt(
        "~DO_NOT_USE",
        "DQ bits that a pixel may have and still count as good, by name or number. "
        "A leading tilde means all but these, None means all.",
    )
    maskpt: float = opt(
        0.7,
        "Pixels whose weight is below this part of the mean weight are left out of the median. "
        "Weights being 0 or 1 here, all values above 0 mean the same; 0 leaves out none.",
        min=0,
        max=1,
    )
    snr: str = opt(
        "5.0 4.0",
        "Deviation from the median from which on a pixel is flagged, in units of its error. "
        "One or two numbers, of which coronagraphic data use the first.",
    )
    save_intermediate_results: bool = opt(
        False, "Save the median over the integrations as the product median."
    )
    jitter_scale: float = opt(
        1.0,
        "Weight of what the motion of the star adds to the errors, measured from the data. "
        "1 as measured, larger values protect the star more, 0 does nothing about it.",
        min=0,
    )
    missing_err: str = opt(
        "ignore",
        "What a missing error, one that is not a positive number, means: ignore flags nothing "
        "there, zero flags every deviation.",
        choices=("ignore", "zero"),
    )
    min_integrations: int = opt(
        3, "Number of good values that a pixel needs before any of them is flagged.", min=1
    )
    flag_bad: bool = opt(
        False, "Whether pixels that are bad already are flagged as outliers as well."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # checked here, so that a bad value is refused before any work is done
        _numbers(self.snr)

    @property
    def threshold(self) -> float:
        """The first number of `snr`."""
        return _numbers(self.snr)[0]


class OutlierStatus(Enum):
    """What became of the search."""

    OK = "ok"
    """All integrations were searched."""
    TOO_FEW = "too few integrations"
    """Nothing was searched: a median of one or two values says nothing."""
    NO_DATA = "no valid pixels"
    """Nothing was searched: no pixel has enough good values."""


@dataclass(frozen=True)
class Outliers:
    """The outliers of a stack.

    Attributes
    ----------
    mask : ndarray of bool, shape (n, ny, nx)
        True for outliers.
    median : ndarray, shape (ny, nx)
        Median of the good values; NaN where there is none. Type and unit of the data.
    n_found : ndarray of int, shape (n,)
        Number of outliers in each integration.
    status : OutlierStatus
    reason : str
        The status in words, with numbers; empty if all is well.
    zone : ndarray of bool, shape (ny, nx)
        Where the motion of the star was taken into account.
    n_patterns : int
        Patterns in time that were removed there.
    """

    mask: Mask
    median: NDArray
    n_found: NDArray[np.int64]
    status: OutlierStatus
    reason: str
    zone: Mask
    n_patterns: int = 0


def find_outliers(
    data: ArrayLike,
    err: ArrayLike,
    good: ArrayLike | None = None,
    *,
    options: OutlierDetection | None = None,
) -> Outliers:
    """Find the values of a stack that differ from its median over the integrations.

    A value d with error e is an outlier if ``|d - median| > snr * e``. Where the star's motion
    changes the image by more than its noise (see :mod:`webbalign.core.motion`), the deviation r is
    what remains after that motion is removed, and the limit is ``r**2 > snr**2 * e**2 + t**2 * x``,
    x being the measured variance of what remains and t the multiple that is as rare as `snr` sigma.

    Parameters
    ----------
    data, err : array_like of float, shape (n, ny, nx)
        Integrations and their one-sigma errors, in any unit.
    good : array_like of bool, shape (n, ny, nx), optional
        Values that may be used; values that are not finite are left out in any case.
    options : OutlierDetection, optional

    Raises
    ------
    InputError
        If the shapes differ.
    """
    options = options or OutlierDetection()
    stack = _Stack.of(data, err, good, options)
    statistics = _statistics(stack, options)
    refusal = _refusal(len(stack.data), statistics.count, options)
    if refusal is not None:
        return _nothing(stack.data.shape, statistics.median, *refusal)
    mask = statistics.mask
    zone, motion = _motion(stack, statistics, options)
    if motion is not None:
        mask[(slice(None), *motion.pixels)] = _compare_moving(motion, stack, options)
    enough = statistics.count >= options.min_integrations
    for index in visit(stack.data):
        if not options.flag_bad:
            mask[index] &= stack.usable(index)
        if options.min_integrations > 1:
            mask[index] &= enough
    n_patterns = 0 if motion is None else motion.n_patterns
    found = np.array([np.count_nonzero(image) for image in mask], np.int64)
    return Outliers(mask, statistics.median, found, OutlierStatus.OK, "", zone, n_patterns)


@dataclass(frozen=True)
class _Stack:
    """The arrays, with what may be used of them; all (n, ny, nx)."""

    data: NDArray
    err: NDArray
    good: Mask | None
    unweighted: bool
    """Whether the median takes everything that is finite."""

    @classmethod
    def of(
        cls, data: ArrayLike, err: ArrayLike, good: ArrayLike | None, options: OutlierDetection
    ) -> _Stack:
        """Check the arrays."""
        data, err = _floats(data), _floats(err)
        usable = None if good is None else np.asarray(good, dtype=bool)
        shape = data.shape if usable is None else usable.shape
        if data.ndim != 3 or err.shape != data.shape or shape != data.shape:
            found = f"data {data.shape}, errors {err.shape}, good pixels {shape}"
            raise InputError(None, found, "three arrays of one shape (n, ny, nx)")
        stack = cls(data, err, usable, options.maskpt == 0)
        # jwst finds no mean weight where all weights are 0, and then leaves out none
        if options.flag_bad and not any(stack.usable(i).any() for i in visit(data)):
            return replace(stack, unweighted=True)
        return stack

    def usable(self, index: int) -> Mask:
        """Return where values are finite and may be used."""
        finite: Mask = np.isfinite(self.data[index])
        return finite if self.good is None else finite & self.good[index]

    def used(self, index: int) -> NDArray:
        """Return the data with NaN where they do not count."""
        data = self.data[index]
        usable = True if self.unweighted else self.usable(index)
        return np.where(usable, data, data.dtype.type(np.nan))


class _Statistics:
    """What is known of each pixel before the motion of the star is: images (ny, nx), and a mask."""

    def __init__(self, stack: _Stack) -> None:
        shape = stack.data.shape
        self.median = np.empty(shape[1:], stack.data.dtype)
        self.scatter, self.noise = np.zeros(shape[1:]), np.zeros(shape[1:])
        self.count = np.zeros(shape[1:], np.int64)
        self.mask = np.zeros(shape, bool)


def _statistics(stack: _Stack, options: OutlierDetection) -> _Statistics:
    """Go through the stack some rows at a time: there may be hundreds of integrations."""
    result = _Statistics(stack)
    n, ny, nx = stack.data.shape
    height = max(min(PIXELS, VALUES // n) // nx, 1)
    for start in range(0, ny, height):
        rows = slice(start, start + height)
        data, err = _rows(stack.data, rows), _rows(stack.err, rows)
        usable = np.isfinite(data)
        if stack.good is not None:
            usable &= stack.good[:, rows]
        used = data if stack.unweighted else np.where(usable, data, data.dtype.type(np.nan))
        result.median[rows] = median = stack_median(used)
        result.count[rows] = np.count_nonzero(usable, axis=0)
        if _may_move(n, options):
            result.scatter[rows] = robust_variance(used - median)
            result.noise[rows] = stack_median(err * err)
        result.mask[:, rows] = _compare(data, err, median, options)
    return result


def _rows(cube: NDArray, rows: slice) -> NDArray:
    """Copy some rows of all images; reading a few rows from a file brings many in."""
    part = np.empty_like(cube[:, rows])
    for index in visit(cube, block=32):
        part[index] = cube[index, rows]
    return part


def _compare(data: NDArray, err: NDArray, median: NDArray, options: OutlierDetection) -> Mask:
    deviation = np.abs(data - median)
    err = _known(err, options)
    # comparisons with NaN are False
    return deviation > err * err.dtype.type(options.threshold)


def _may_move(n: int, options: OutlierDetection) -> bool:
    return options.jitter_scale > 0 and n >= 3


def _known(err: NDArray, options: OutlierDetection) -> NDArray:
    """Return the errors with NaN, or (``missing_err="zero"``) 0, where there is none."""
    if options.missing_err == "zero":
        return np.nan_to_num(err)
    # files hold 0 where nothing is known of a pixel: no measurement is without error
    return np.where(err > 0, err, err.dtype.type(np.nan))


def _motion(
    stack: _Stack, statistics: _Statistics, options: OutlierDetection
) -> tuple[Mask, Motion | None]:
    nowhere = np.zeros(statistics.median.shape, dtype=bool)
    if not _may_move(len(stack.data), options):
        return nowhere, None
    median, scatter = statistics.median, statistics.scatter
    zone = find_zone(median, scatter, statistics.noise)
    if not zone.any():
        return zone, None
    pixels = zone.nonzero()
    values = _taken((stack.used(i) for i in visit(stack.data)), pixels)
    variance = _taken((np.square(stack.err[i]) for i in visit(stack.err)), pixels)
    return zone, model_motion(values, variance, median, scatter, zone)


def _taken(images: Iterable[NDArray], pixels: tuple[NDArray[np.intp], ...]) -> NDArray[np.float64]:
    """Return the values (n, npix) of images at some pixels."""
    return np.stack([image[pixels].astype(np.float64) for image in images])


def _compare_moving(motion: Motion, stack: _Stack, options: OutlierDetection) -> Mask:
    snr = options.threshold
    err = _taken((stack.err[i] for i in visit(stack.err)), motion.pixels)
    limit = (motion.threshold(snr) * options.jitter_scale) ** 2 * motion.excess
    return motion.residuals**2 > snr**2 * _known(err, options) ** 2 + np.nan_to_num(limit)


def _refusal(
    n: int, count: NDArray[np.int64], options: OutlierDetection
) -> tuple[OutlierStatus, str] | None:
    least = options.min_integrations
    if n < least:
        reason = f"it has {n} integrations, at least {least} are needed"
        return OutlierStatus.TOO_FEW, reason
    if least > 1 and not (count >= least).any():
        return OutlierStatus.NO_DATA, f"no pixel has {least} good values"
    return None


def _nothing(
    shape: tuple[int, ...], median: NDArray, status: OutlierStatus, reason: str
) -> Outliers:
    mask = np.zeros(shape, dtype=bool)
    found = np.zeros(shape[0], dtype=np.int64)
    return Outliers(mask, median, found, status, reason, np.zeros(shape[1:], dtype=bool))


def _floats(values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    # files hold the other byte order
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2) or not all(0 < number < np.inf for number in numbers):
        raise OptionError(f"option 'snr' is {text!r} - give one or two positive numbers")
    return numbers
