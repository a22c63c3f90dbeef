"""The detectors' geometry, from the telescope's science instrument aperture file (SIAF)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from webbalign.simulate.cache import cached_arrays

__all__ = ["APERTURES", "Aperture", "aperture_for"]

# detector as in file names -> instrument and aperture of the SIAF
APERTURES = {
    **{f"nrca{i}": ("NIRCam", f"NRCA{i}_FULL") for i in range(1, 5)},
    **{f"nrcb{i}": ("NIRCam", f"NRCB{i}_FULL") for i in range(1, 5)},
    "nrcalong": ("NIRCam", "NRCA5_FULL"),
    "nrcblong": ("NIRCam", "NRCB5_FULL"),
    "mirimage": ("MIRI", "MIRIM_FULL"),
}
# First and last column and row that see the sky (0-based): reference pixels lie around them, and
# the coronagraphs' corner of MIRI's detector is left out.
_SEES_SKY = {"NIRCam": (4, 2043, 4, 2043), "MIRI": (360, 1027, 0, 1023)}


@dataclass(frozen=True)
class Aperture:
    """A detector, or its middle, and where it looks.

    Attributes
    ----------
    detector : str
        As in file names.
    name : str
        Of the aperture.
    shape : tuple of int
        (ny, nx).
    corner : tuple of int
        1-based detector column and row of the first pixel.
    reference_pixel : tuple of float
        0-based (x, y) of the reference point; may lie outside a cut-out.
    v2v3 : tuple of float
        V2 and V3 of the reference point, arcsec.
    v3_angle : float
        Angle from V3 to the y axis of the ideal frame, degrees.
    ideal_x, ideal_y : dict
        Coefficients (power of x, power of y) -> arcsec / px**n of the polynomials from pixels
        relative to the reference pixel to the ideal frame.
    valid : tuple of int
        First and last valid column, first and last valid row (0-based, inclusive).
    """

    detector: str
    name: str
    shape: tuple[int, int]
    corner: tuple[int, int]
    reference_pixel: tuple[float, float]
    v2v3: tuple[float, float]
    v3_angle: float
    ideal_x: dict[tuple[int, int], float]
    ideal_y: dict[tuple[int, int], float]
    valid: tuple[int, int, int, int]

    @property
    def pixel_scale(self) -> tuple[float, float]:
        """Pixel size along x and y at the reference point, arcsec."""
        return abs(self.ideal_x[1, 0]), abs(self.ideal_y[0, 1])

    @property
    def pixel_area(self) -> float:
        """Area of the pixel at the reference point, arcsec^2."""
        a, b = self.ideal_x.get((1, 0), 0.0), self.ideal_x.get((0, 1), 0.0)
        c, d = self.ideal_y.get((1, 0), 0.0), self.ideal_y.get((0, 1), 0.0)
        return abs(a * d - b * c)

    def relative_area(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Area of pixels relative to `pixel_area`.

        Parameters
        ----------
        x, y : ndarray (nx,), (ny,)
            0-based columns and rows.

        Returns
        -------
        ndarray (ny, nx)
        """
        u, v = x - self.reference_pixel[0], y - self.reference_pixel[1]
        parts = [
            _polynomial_value(_derivative(coefficients, axis), u, v)
            for coefficients in (self.ideal_x, self.ideal_y)
            for axis in (0, 1)
        ]
        area: np.ndarray = np.abs(parts[0] * parts[3] - parts[1] * parts[2]) / self.pixel_area
        return area

    def cut(self, size: int | None) -> Aperture:
        """Return the part of `size` x `size` pixels about the reference pixel."""
        if size is None:
            return self
        ny, nx = (min(size, limit) for limit in self.shape)
        x0, y0 = (
            min(max(round(center - (side - 1) / 2), 0), limit - side)
            for center, side, limit in zip(
                self.reference_pixel, (nx, ny), self.shape[::-1], strict=True
            )
        )
        left, right, bottom, top = self.valid
        return replace(
            self,
            shape=(ny, nx),
            corner=(self.corner[0] + x0, self.corner[1] + y0),
            reference_pixel=(self.reference_pixel[0] - x0, self.reference_pixel[1] - y0),
            valid=(
                max(left - x0, 0),
                min(right - x0, nx - 1),
                max(bottom - y0, 0),
                min(top - y0, ny - 1),
            ),
        )


def _derivative(
    coefficients: dict[tuple[int, int], float], axis: int
) -> dict[tuple[int, int], float]:
    return {
        (i - (axis == 0), j - (axis == 1)): value * (i, j)[axis]
        for (i, j), value in coefficients.items()
        if (i, j)[axis]
    }


def _polynomial_value(
    coefficients: dict[tuple[int, int], float], u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Polynomial on the grid (ny, nx) of u (nx,) and v (ny,)."""
    degree = max(max(power) for power in coefficients) + 1
    table = np.zeros((degree, degree))
    for power, value in coefficients.items():
        table[power] = value
    in_u, in_v = (np.vander(along, degree, increasing=True) for along in (u, v))
    values: np.ndarray = in_v @ table.T @ in_u.T
    return values


def aperture_for(detector: str) -> Aperture:
    """Return the geometry of a full detector.

    Parameters
    ----------
    detector : str
        One of the keys of :data:`APERTURES`.

    Notes
    -----
    The polynomials are those of the SIAF that pysiaf brings along; from there to V2 and V3 it is a
    plane rotation, as in JWST's distortion reference files. They are kept in the cache, since
    importing pysiaf takes seconds.
    """
    instrument, name = APERTURES[detector]
    key = (version("pysiaf"), detector, "1")
    arrays = cached_arrays(f"siaf-{detector}", key, lambda: _read(instrument, name))
    ny, nx = (int(side) for side in arrays["shape"])
    numbers = [float(number) for number in arrays["numbers"]]
    ideal_x, ideal_y = (
        {
            (i, j): float(table[i, j])
            for i in range(len(table))
            for j in range(len(table))
            if table[i, j] != 0
        }
        for table in (arrays["ideal_x"], arrays["ideal_y"])
    )
    return Aperture(
        detector=detector,
        name=name,
        shape=(ny, nx),
        corner=(1, 1),
        reference_pixel=(numbers[0], numbers[1]),
        v2v3=(numbers[2], numbers[3]),
        v3_angle=numbers[4],
        ideal_x=ideal_x,
        ideal_y=ideal_y,
        valid=_SEES_SKY[instrument],
    )


def _read(instrument: str, name: str) -> dict[str, np.ndarray]:
    with _quiet_import():
        from pysiaf import Siaf

    aperture: Any = Siaf(instrument)[name]
    if aperture.VIdlParity != -1:
        raise ValueError(f"the x axis of {name} runs along V2")  # no JWST imager's does
    coefficients = aperture.get_polynomial_coefficients()
    return {
        "shape": np.array([aperture.YSciSize, aperture.XSciSize]),
        "numbers": np.array(
            [
                aperture.XSciRef - 1.0,
                aperture.YSciRef - 1.0,
                aperture.V2Ref,
                aperture.V3Ref,
                aperture.V3IdlYAngle,
            ]
        ),
        "ideal_x": _table(coefficients["Sci2IdlX"], aperture.Sci2IdlDeg),
        "ideal_y": _table(coefficients["Sci2IdlY"], aperture.Sci2IdlDeg),
    }


def _table(sequence: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients (power of x, power of y) from SIAF's order: 1, x, y, x^2, xy, y^2, ..."""
    table = np.zeros((degree + 1, degree + 1))
    position = 0
    for total in range(degree + 1):
        for j in range(total + 1):
            table[total - j, j] = sequence[position]
            position += 1
    return table


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Keep pysiaf from asking a server, on import, whether it is the newest.

    Without a network that ends in a warning at best and in a long wait at worst.
    """
    import requests

    def refuse(*_: Any, **__: Any) -> Any:
        raise requests.ConnectionError("not needed")

    logger = logging.getLogger("pysiaf")
    genuine, was_disabled = requests.get, logger.disabled
    requests.get, logger.disabled = refuse, True
    try:
        yield
    finally:
        requests.get, logger.disabled = genuine, was_disabled
