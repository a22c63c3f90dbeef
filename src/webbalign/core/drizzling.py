"""Exposures on an output grid (drizzle: Fruchter & Hook 2002, doi:10.1086/338393)."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from drizzle.resample import Drizzle
from numpy.typing import NDArray

from webbalign.core.coaddition import (
    VARIANCES,
    Combined,
    Integration,
    combine_integrations,
    integration_weight,
)

if TYPE_CHECKING:
    from webbalign.core.resample import Resample

__all__ = ["ErrGrid", "Exposure", "Grid", "Resampled", "VarGrid"]


@dataclass(frozen=True)
class Exposure:
    """What the drizzling needs of one exposure.

    Attributes
    ----------
    integrations : iterable of Integration
        Read once.
    pixmap : ndarray, shape (ny, nx, 2)
        0-based output position (x, y) of the centre of each input pixel; NaN: not used.
    common_variance : ndarray, shape (ny, nx), or None
        The part of the variance that all integrations of the exposure share.
    speckle_variance : ndarray, shape (ny, nx), or None
        The part of `common_variance` that is leftover starlight, alike in neighbouring pixels.
    exposure_time : float
        Seconds; the weight for ``weight_type="exptime"``.
    background : float
        Level that is subtracted from the data before drizzling.
    name : str
        For messages.
    mean : Combined or None
        The mean of the integrations if it is known already; then `integrations` is not read.
    """

    integrations: Iterable[Integration]
    pixmap: NDArray[np.float64]
    common_variance: NDArray[Any] | None = None
    speckle_variance: NDArray[Any] | None = None
    exposure_time: float = 1.0
    background: float = 0.0
    name: str = ""
    mean: Combined | None = None


@dataclass(frozen=True)
class Resampled:
    """The combined image; arrays are (ny, nx) float32 unless said otherwise.

    Attributes
    ----------
    data : ndarray
        Weighted mean, in the unit u of the input (surface brightness stays surface brightness).
    err : ndarray or None
        One-sigma error of each pixel, in u; NaN where nothing contributes.
    weight : ndarray
        Sum of the weights times the overlap areas.
    context : ndarray of int32, shape (planes, ny, nx), or None
        Bit k of plane p tells that exposure (``err_source="var"``: integration) 32 p + k
        contributes.
    variances : mapping
        Resampled `VARIANCES`, those that all exposures have, in u**2.
    dq : ndarray of uint32 or None
    noise_correlation : float
        Ratio of the error of a sum over many pixels to sqrt(sum(err**2)), which ignores that
        drizzling correlates neighbours. NaN with ``err_source="var"``, whose ERR is no error of a
        single pixel.
    n_exposures : int
    """

    data: NDArray[np.float32]
    err: NDArray[np.float32] | None
    weight: NDArray[np.float32]
    context: NDArray[np.int32] | None
    variances: Mapping[str, NDArray[np.float32]]
    dq: NDArray[np.uint32] | None
    noise_correlation: float
    n_exposures: int


class Grid(ABC):
    """The output arrays while exposures are added.

    Parameters
    ----------
    shape : (int, int)
        Shape (ny, nx) of the output.
    options : Resample
    ratio : float
        Output pixel scale in units of the input pixel scale.
    """

    extend_map = True

    def __init__(self, shape: tuple[int, int], options: Resample, ratio: float) -> None:
        self.shape = shape
        self.options = options
        self.ratio = ratio
        self.image = self._drizzle(options.fillval, disable_ctx=not options.enable_ctx)

    def _drizzle(self, fillval: str = "NAN", **settings: Any) -> Drizzle:
        return Drizzle(
            kernel=self.options.kernel,
            fillval=fillval,
            fillval2="NAN",
            out_shape=self.shape,
            **settings,
        )

    def _add_image(
        self,
        drizzle: Drizzle,
        data: NDArray[Any],
        weight: NDArray[Any],
        pixmap: NDArray[np.float64],
        **arrays: Any,
    ) -> None:
        finite = np.logical_and(*np.moveaxis(np.isfinite(pixmap), -1, 0))
        rows = np.flatnonzero(finite.any(axis=1))
        columns = np.flatnonzero(finite.any(axis=0))
        if self.extend_map:
            pixmap = _with_rim(pixmap, rows, columns)
        with warnings.catch_warnings():
            # drizzle warns about kernels that do not conserve flux: the option's help says so
            warnings.simplefilter("ignore")
            drizzle.add_image(
                np.where(weight > 0, data, 0.0).astype(np.float32),
                exptime=1.0,
                pixmap=pixmap,
                weight_map=(weight * finite).astype(np.float32),
                pixfrac=self.options.pixfrac,
                pixel_scale_ratio=self.ratio,
                in_units="cps",
                xmin=int(columns[0]),
                xmax=int(columns[-1]),
                ymin=int(rows[0]),
                ymax=int(rows[-1]),
                **arrays,
            )

    @abstractmethod
    def add(self, exposure: Exposure) -> None:
        """Drizzle one exposure onto the grid."""

    @abstractmethod
    def finish(self, count: int) -> Resampled:
        """Return the image of the `count` exposures that were added."""

    def _result(
        self,
        count: int,
        err: NDArray[Any] | None,
        variances: Mapping[str, NDArray[Any]],
        correlation: float,
    ) -> Resampled:
        report = self.options.enable_err and self.options.report_var
        return Resampled(
            data=self.image.out_img,
            err=None if err is None else err.astype(np.float32),
            weight=self.image.out_wht,
            context=self.image.out_ctx,
            variances={
                name: value.astype(np.float32) for name, value in variances.items() if report
            },
            dq=self.image.out_dq if self.options.propagate_dq else None,
            noise_correlation=correlation,
            n_exposures=count,
        )


def _with_rim(
    pixmap: NDArray[np.float64], rows: NDArray[np.int_], columns: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Continue a map linearly by one pixel beyond the rows and columns where it is known.

    Drizzle finds the corners of a pixel between its neighbours: without the rim the first row and
    column of what a bounding box leaves would be lost.
    """
    extended = pixmap
    for axis, known in enumerate((rows, columns)):
        for edge, inwards in ((known[0], 1), (known[-1], -1)):
            rim = edge - inwards
            if not 0 <= rim < pixmap.shape[axis] or known[0] == known[-1]:
                continue
            extended = extended.copy() if extended is pixmap else extended
            line = np.moveaxis(extended, axis, 0)
            line[rim] = 2 * line[edge] - line[edge + inwards]
    return extended


class ErrGrid(Grid):
    """Exposures averaged first, and their variances propagated.

    An output pixel is a mean of input pixels with coefficients c. Noise that is independent from
    pixel to pixel has the variance sum(c^2 v). Leftover starlight is made of speckles as wide as
    the diffraction pattern, alike in neighbouring pixels: it does not average down over
    the few pixels that make up an output pixel, and counts as sum(c v) within an exposure;
    different exposures are independent.
    """

    def __init__(self, shape: tuple[int, int], options: Resample, ratio: float) -> None:
        super().__init__(shape, options, ratio)
        self.names = set(VARIANCES)
        self.variance_of_sum = 0.0
        self.speckles = np.zeros(shape)  # sum over exposures of weight^2 times variance

    def add(self, exposure: Exposure) -> None:
        """Average the integrations and drizzle the mean with its variances."""
        mean = exposure.mean or combine_integrations(
            exposure.integrations,
            weight_type=self.options.weight_type,
            exposure_time=exposure.exposure_time,
            common_variance=exposure.common_variance,
        )
        self.names &= set(mean.variances)
        used = mean.weight > 0
        arrays: dict[str, Any] = {}
        if self.options.enable_err:
            independent = mean.variance
            if exposure.speckle_variance is not None:
                speckles = np.nan_to_num(exposure.speckle_variance).astype(np.float64)
                speckles = np.minimum(speckles, independent)
                independent = independent - speckles
                self._add_speckles(speckles, mean.weight, exposure.pixmap)
            level = float(np.median(independent[used])) if used.any() else np.nan
            arrays["data2"] = [*_noise(mean, independent, level)]
        if self.options.propagate_dq:
            arrays["dq"] = np.zeros(used.shape, np.uint32) if mean.dq is None else mean.dq
        before = self.image.out_wht.sum(dtype=np.float64)
        self._add_image(
            self.image, mean.data - exposure.background, mean.weight, exposure.pixmap, **arrays
        )
        if self.options.enable_err and used.any():
            on_grid = (self.image.out_wht.sum(dtype=np.float64) - before) / mean.weight.sum()
            self.variance_of_sum += level * on_grid * np.square(mean.weight).sum()

    def _add_speckles(
        self,
        variance: NDArray[np.float64],
        weight: NDArray[np.float64],
        pixmap: NDArray[np.float64],
    ) -> None:
        drizzle = self._drizzle(disable_ctx=True)
        self._add_image(drizzle, variance, weight, pixmap)
        # kernels with negative lobes could make a variance negative
        variance = np.maximum(np.nan_to_num(drizzle.out_img), 0.0)
        self.speckles += np.square(drizzle.out_wht, dtype=np.float64) * variance

    def finish(self, count: int) -> Resampled:
        """Return the image of the `count` exposures that were added."""
        if not self.options.enable_err:
            return self._result(count, None, {}, np.nan)
        empty = self.image.out_wht == 0
        for array in self.image.out_img2:
            array[empty] = np.nan
        independent, level, *components = self.image.out_img2
        weight = np.where(empty, np.nan, np.square(self.image.out_wht, dtype=np.float64))
        total = independent + self.speckles / weight
        variances = dict(zip(VARIANCES, components, strict=True))
        return self._result(
            count,
            np.sqrt(total),
            {name: variances[name] for name in VARIANCES if name in self.names},
            self._noise_correlation(level),
        )

    def _noise_correlation(self, level_variance: NDArray[Any]) -> float:
        """Error of the weighted sum of all output pixels over the quadratic sum of their errors.

        An output pixel is sum(a w d) / T with overlaps a, input weights w and total weight T. So
        the sum of T times the output is sum(w d), whatever the overlaps, as long as each input
        pixel lies on the grid (its overlaps add up to 1): that variance is known exactly, as is
        the one that follows from the errors of the output pixels taken as independent. White noise
        of the median variance of each exposure is assumed, so that the number belongs to the grid
        and not to its noisiest pixels. For one image on pixels of equal size and pixfrac 1 it is
        about 1.5 (Casertano et al. 2000, doi:10.1086/316851, appendix A).
        """
        weight = self.image.out_wht.astype(np.float64)
        naive = np.nansum(weight**2 * level_variance)
        return float(np.sqrt(self.variance_of_sum / naive)) if naive > 0 else np.nan


def _noise(
    mean: Combined, independent: NDArray[np.float64], level: float
) -> Iterable[NDArray[np.float32]]:
    used = mean.weight > 0
    yield np.where(used, independent, 0.0).astype(np.float32)
    yield np.where(used, level, 0.0).astype(np.float32)
    for name in VARIANCES:
        yield np.asarray(mean.variances.get(name, np.zeros(used.shape)), dtype=np.float32)


class VarGrid(Grid):
    """Integrations drizzled one by one; variances as jwst 3.0 resamples them."""

    extend_map = False  # jwst loses the first row and column of a bounding box

    def __init__(self, shape: tuple[int, int], options: Resample, ratio: float) -> None:
        super().__init__(shape, options, ratio)
        self.sums = {name: np.zeros(shape) for name in VARIANCES}
        self.weights = {name: np.zeros(shape) for name in VARIANCES}
        self.read_variance: NDArray[Any] | None = None

    def add(self, exposure: Exposure) -> None:
        """Drizzle every integration, and the root of each of its variances."""
        for integration in exposure.integrations:
            weight = integration_weight(
                integration,
                self.options.weight_type,
                exposure_time=exposure.exposure_time,
                scale_by_error=False,
            )
            arrays: dict[str, Any] = {}
            if self.options.propagate_dq:
                dq = integration.dq
                arrays["dq"] = np.zeros(weight.shape, np.uint32) if dq is None else dq
            data = np.asarray(integration.data, dtype=np.float64) - exposure.background
            self._add_image(self.image, data, weight, exposure.pixmap, **arrays)
            if self.options.enable_err:
                self._add_variances(integration, weight, exposure)

    def _add_variances(
        self, integration: Integration, weight: NDArray[np.float64], exposure: Exposure
    ) -> None:
        resampled = {}
        for name, variance in integration.variances.items():
            drizzle = self._drizzle(disable_ctx=True)
            sigma = np.sqrt(np.maximum(variance, 0.0, where=weight > 0, out=np.zeros_like(weight)))
            self._add_image(drizzle, sigma, weight, exposure.pixmap)
            resampled[name] = drizzle.out_img.astype(np.float64) ** 2
        # jwst keeps the last VAR_RNOISE for an image that has none
        self.read_variance = resampled.get("var_rnoise", self.read_variance)
        if self.options.weight_type == "ivm" and self.read_variance is not None:
            positive = self.read_variance > 0
            scale = np.divide(1.0, self.read_variance, out=np.zeros(self.shape), where=positive)
        else:
            constant = exposure.exposure_time if self.options.weight_type == "exptime" else 1.0
            scale = np.full(self.shape, constant)
        for name, variance in resampled.items():
            used = np.isfinite(variance) & (scale > 0)
            self.sums[name][used] += variance[used] * scale[used] ** 2
            self.weights[name][used] += scale[used]

    def finish(self, count: int) -> Resampled:
        """Return the image of the `count` exposures that were added."""
        if not self.options.enable_err:
            return self._result(count, None, {}, np.nan)
        variances = {}
        for name, total in self.sums.items():
            weight = self.weights[name]
            used = weight > 0
            if used.any():
                value = np.full(self.shape, np.nan)
                value[used] = total[used] / weight[used] ** 2 / self.ratio**2
                variances[name] = value
        err = np.full(self.shape, np.nan)
        if variances:
            stack = np.array(list(variances.values()))
            known = np.isfinite(stack).any(axis=0)
            err[known] = np.sqrt(np.nansum(stack, axis=0)[known])
        return self._result(count, err, variances, np.nan)
