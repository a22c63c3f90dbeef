"""Weighted mean of the integrations of one exposure, with its variance.

All integrations of an exposure share one map from the detector to the sky, and drizzling is linear
in the data. So the mean formed on the detector and drizzled once is the image that drizzling every
integration would give, at one n-th of the time; and the part of the noise that all integrations of
an exposure share can be kept from shrinking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.mapped import visit

__all__ = [
    "VARIANCES",
    "Combined",
    "Integration",
    "Times",
    "combine_integrations",
    "integration_weight",
    "split_integrations",
    "total_times",
]

VARIANCES = ("var_poisson", "var_rnoise", "var_flat")


@dataclass(frozen=True)
class Integration:
    """One 2-D image of an exposure; all arrays are (ny, nx).

    Attributes
    ----------
    data : ndarray
        Image, in any unit u.
    good : ndarray of bool
        False where the image must not be used.
    err : ndarray or None
        Total one-sigma error, in u.
    variances : mapping
        Those of `VARIANCES` that the exposure has, in u**2.
    dq : ndarray of uint32 or None
        Data-quality flags.
    """

    data: NDArray[Any]
    good: NDArray[np.bool_]
    err: NDArray[Any] | None = None
    variances: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dq: NDArray[np.uint32] | None = None

    def usable(self) -> NDArray[np.bool_]:
        """Where data, error and variances are all finite and `good` holds."""
        usable = self.good & np.isfinite(self.data)
        for noise in (self.err, *self.variances.values()):
            if noise is not None:
                usable &= np.isfinite(noise)
        return usable


@dataclass(frozen=True)
class Combined:
    """The mean of the integrations of an exposure; all arrays are (ny, nx).

    Attributes
    ----------
    data : ndarray
        Weighted mean, 0 where the weight is 0.
    weight : ndarray
        Sum of the weights of the integrations that were used.
    variance : ndarray
        Variance of the mean: the independent part, which shrinks with the number of integrations,
        plus the common part, which does not. NaN everywhere if there was no error to start from.
    variances : mapping
        `VARIANCES` of the mean; ``var_flat`` is common to all integrations and does not shrink.
    dq : ndarray of uint32 or None
        Flags of the pixels that were used, ORed.
    n_integrations : int
    """

    data: NDArray[np.float64]
    weight: NDArray[np.float64]
    variance: NDArray[np.float64]
    variances: Mapping[str, NDArray[np.float64]]
    dq: NDArray[np.uint32] | None
    n_integrations: int


def split_integrations(
    data: NDArray[Any],
    *,
    good: NDArray[np.bool_] | None = None,
    err: NDArray[Any] | None = None,
    variances: Mapping[str, NDArray[Any] | None] | None = None,
    dq: NDArray[np.uint32] | None = None,
    bad_bits: int = 0,
) -> Iterator[Integration]:
    """Yield the integrations of a cube one by one.

    Parameters
    ----------
    data : ndarray, shape (nints, ny, nx) or (ny, nx)
        Images; memory-mapped arrays are read slice by slice.
    good, err, dq : ndarray, optional
        As in `Integration`, of the shape of `data` or of one image.
    variances : mapping, optional
        Arrays by the names in `VARIANCES`. One that is None, empty, of another shape, or without a
        single positive value counts as missing, and so does `err`; without `err` the square root
        of the sum of the variances serves.
    bad_bits : int
        Pixels with one of these flags must not be used either.

    Yields
    ------
    Integration
    """
    cube = data[None] if data.ndim == 2 else data
    err = _present(err, cube.shape)
    found = {name: _present(value, cube.shape) for name, value in (variances or {}).items()}
    dq = dq if dq is not None and dq.shape in (cube.shape, cube.shape[1:]) else None
    everywhere = np.ones(cube.shape[1:], dtype=bool)
    for index in visit(cube, err, dq, *found.values()):
        planes = {name: _plane(value, index) for name, value in found.items() if value is not None}
        error = None if err is None else _plane(err, index)
        if error is None and planes:
            error = np.sqrt(np.sum(list(planes.values()), axis=0, dtype=np.float64))
        flags = None if dq is None else _plane(dq, index)
        usable = everywhere if good is None else _plane(good, index)
        if flags is not None and bad_bits:
            usable = usable & ((flags & np.uint32(bad_bits)) == 0)
        yield Integration(cube[index], usable, error, planes, flags)


def _plane(array: NDArray[Any], index: int) -> NDArray[Any]:
    return array if array.ndim == 2 else array[index]


def _present(array: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if array is None or array.shape not in (shape, shape[1:]):
        return None
    planes = array[None] if array.ndim == 2 else array
    # NaN > 0 is False: neither an array of zeros nor one of NaN tells anything
    return array if any((planes[index] > 0).any() for index in visit(planes)) else None


def integration_weight(
    integration: Integration,
    weight_type: str | None,
    *,
    exposure_time: float = 1.0,
    scale_by_error: bool = True,
) -> NDArray[np.float64]:
    """Weight of each pixel of an integration, 0 where it is not usable.

    Parameters
    ----------
    integration : Integration
    weight_type : {"ivm", "exptime"} or None
        ``ivm``: 1/VAR_RNOISE. The total error would not do: it contains the photon noise of the
        pixel itself, so that pixels that fluctuate downwards would weigh more and bias the mean.
        Without VAR_RNOISE all pixels of the integration weigh the same, 1/median(ERR)**2.
        ``exptime``: the exposure time. None: 1.
    exposure_time : float
        In seconds.
    scale_by_error : bool
        False: without VAR_RNOISE the weight is 1.

    Returns
    -------
    weight : ndarray of float64, shape (ny, nx)
    """
    usable = integration.usable()
    if weight_type == "exptime":
        return usable.astype(np.float64) * exposure_time
    if weight_type is None:
        return usable.astype(np.float64)
    if "var_rnoise" in integration.variances:
        variance = np.asarray(integration.variances["var_rnoise"], dtype=np.float64)
        usable &= variance > 0
        return np.divide(1.0, variance, out=np.zeros(usable.shape), where=usable)
    if scale_by_error and integration.err is not None:
        errors = integration.err[usable]
        level = float(np.median(errors)) if errors.size else 0.0
        if level > 0:
            return usable.astype(np.float64) / level**2
    return usable.astype(np.float64)


def combine_integrations(
    integrations: Iterable[Integration],
    *,
    weight_type: str | None = "ivm",
    exposure_time: float = 1.0,
    common_variance: ArrayLike | None = None,
) -> Combined:
    r"""Weighted mean of the integrations of an exposure.

    With weights :math:`w_i` (0 for bad pixels), :math:`W = \sum w_i`, total variances
    :math:`\sigma_i^2` and common variance :math:`c`,

    .. math:: m = \frac{\sum w_i d_i}{W}, \qquad
              \mathrm{var}(m) = \frac{\sum w_i^2 \max(\sigma_i^2 - c, 0)}{W^2} + c .

    Parameters
    ----------
    integrations : iterable of Integration
        Read once, one at a time.
    weight_type, exposure_time
        As in `integration_weight`.
    common_variance : array_like, shape (ny, nx), optional
        The part of ``err**2`` that all integrations share (one error per pixel and exposure).
        Default: none. NaN counts as 0.

    Returns
    -------
    Combined

    Raises
    ------
    InputError
        If there is no integration.
    """
    total: _Sums | None = None
    for integration in integrations:
        if total is None:
            total = _Sums(integration, common_variance)
        weight = integration_weight(integration, weight_type, exposure_time=exposure_time)
        total.add(integration, weight)
    if total is None:
        raise InputError(None, "an exposure without integrations", "at least one")
    return total.mean()


class _Sums:
    """Running sums over the integrations of an exposure, in float64."""

    def __init__(self, first: Integration, common: ArrayLike | None) -> None:
        shape = first.data.shape
        self.count = 0
        self.weight = np.zeros(shape)
        self.data = np.zeros(shape)
        self.independent = np.full(shape, np.nan) if first.err is None else np.zeros(shape)
        self.variances = {name: np.zeros(shape) for name in first.variances}
        self.dq = None if first.dq is None else np.zeros(shape, dtype=np.uint32)
        if common is None:
            self.common = np.zeros(shape)
        else:
            self.common = np.nan_to_num(np.asarray(common, dtype=np.float64), nan=0.0)

    def add(self, integration: Integration, weight: NDArray[np.float64]) -> None:
        self.count += 1
        used = weight > 0
        self.weight += weight
        self.data += weight * np.where(used, integration.data, 0.0)
        if integration.err is not None:
            error = np.where(used, integration.err, 0.0)
            excess = np.square(error, dtype=np.float64) - self.common
            self.independent += weight * weight * np.maximum(excess, 0.0)
        for name, total in self.variances.items():
            # the flat field is the same in all integrations: its error does not average down
            factor = weight if name == "var_flat" else weight * weight
            total += factor * np.where(used, integration.variances[name], 0.0)
        if self.dq is not None and integration.dq is not None:
            np.bitwise_or(self.dq, integration.dq, out=self.dq, where=used)

    def mean(self) -> Combined:
        used = self.weight > 0
        inverse = np.divide(1.0, self.weight, out=np.zeros_like(self.weight), where=used)
        return Combined(
            data=self.data * inverse,
            weight=self.weight,
            variance=self.independent * inverse**2 + self.common * used,
            variances={
                name: total * (inverse if name == "var_flat" else inverse**2)
                for name, total in self.variances.items()
            },
            dq=self.dq,
            n_integrations=self.count,
        )


@dataclass(frozen=True)
class Times:
    """When and for how long: seconds, and days (MJD) for `start` and `end`.

    Attributes
    ----------
    exposure_time, duration : float
    measurement_time : float or None
        None if unknown.
    start, end : float or None
    """

    exposure_time: float = 0.0
    duration: float = 0.0
    measurement_time: float | None = None
    start: float | None = None
    end: float | None = None


def total_times(exposures: Iterable[Times]) -> Times:
    """Add up the times of the parts of a combination: sums, first start, last end.

    The measurement time is unknown as soon as it is for one exposure.
    """
    items = list(exposures)
    measured = [item.measurement_time for item in items if item.measurement_time is not None]
    return Times(
        exposure_time=sum(item.exposure_time for item in items),
        duration=sum(item.duration for item in items),
        measurement_time=sum(measured) if items and len(measured) == len(items) else None,
        start=min((item.start for item in items if item.start is not None), default=None),
        end=max((item.end for item in items if item.end is not None), default=None),
    )
