"""Where the telescope points: the attitude as a rotation of the sphere."""

from __future__ import annotations

import numpy as np

__all__ = ["attitude_matrix", "moved_position", "pointing_of"]


def _unit(lon: float, lat: float) -> np.ndarray:
    lon, lat = np.deg2rad(lon), np.deg2rad(lat)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _north(lon: float, lat: float) -> np.ndarray:
    lon, lat = np.deg2rad(lon), np.deg2rad(lat)
    return np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])


def _triad(lon: float, lat: float, angle: float) -> np.ndarray:
    """Columns: the point, the direction at `angle` from north over east, their product."""
    point, north = _unit(lon, lat), _north(lon, lat)
    east = np.cross(north, point)
    turned = np.cos(np.deg2rad(angle)) * north + np.sin(np.deg2rad(angle)) * east
    return np.stack([point, turned, np.cross(turned, point)], axis=1)


def attitude_matrix(
    v2v3: tuple[float, float], position: tuple[float, float], roll: float
) -> np.ndarray:
    """Return the rotation (3, 3) from unit vectors in (V2, V3) to those on the sky.

    Parameters
    ----------
    v2v3 : tuple of float
        A point of the telescope's field, arcsec.
    position : tuple of float
        Right ascension and declination at which it looks, degrees.
    roll : float
        Position angle of V3 there, degrees.
    """
    v2, v3 = v2v3[0] / 3600.0, v2v3[1] / 3600.0
    return _triad(*position, roll) @ _triad(v2, v3, 0.0).T


def pointing_of(matrix: np.ndarray, v2v3: tuple[float, float]) -> tuple[float, float, float]:
    """Return (ra, dec, roll) in degrees of a point (V2, V3), arcsec, under an attitude."""
    v2, v3 = v2v3[0] / 3600.0, v2v3[1] / 3600.0
    x, y, z = point = matrix @ _unit(v2, v3)
    ra, dec = np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arcsin(np.clip(z, -1, 1)))
    up = matrix @ _north(v2, v3)
    north = _north(ra, dec)
    east = np.cross(north, point)
    return float(ra), float(dec), float(np.rad2deg(np.arctan2(up @ east, up @ north)) % 360.0)


def moved_position(
    position: tuple[float, float], offset: np.ndarray, roll: float
) -> tuple[float, float]:
    """Return the sky position offset along V2 and V3.

    Parameters
    ----------
    position : tuple of float
        Right ascension and declination, degrees.
    offset : ndarray (2,)
        Along V2 and V3 on the tangent plane, arcsec.
    roll : float
        Position angle of V3, degrees.
    """
    # under a point that looks at the position, V2 and V3 are directions on the sky
    x, y = np.deg2rad(np.asarray(offset, float) / 3600.0)
    vector = attitude_matrix((0.0, 0.0), position, roll) @ np.array([1.0, x, y])
    ra, dec = np.arctan2(vector[1], vector[0]), np.arctan2(vector[2], np.hypot(*vector[:2]))
    return float(np.rad2deg(ra) % 360.0), float(np.rad2deg(dec))
