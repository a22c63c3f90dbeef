"""The plane in which a star alignment corrects a GWCS, and the corrected GWCS.

The plane is that of tweakwcs' ``JWSTWCSCorrector``: it touches the sphere of V2 and V3 at
(``v2_ref``, ``v3_ref``) and is turned by ``roll_ref``. On the sky it touches at (``ra_ref``,
``dec_ref``) with x to the east and y to the north, as far as the WCS agrees with its own keywords;
the axes are taken from the WCS.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.planes import ARCSEC, TangentPlane, sky_to_vectors
from webbalign.products._plane_corrections import Correction, transported
from webbalign.products.sphere import box_edges

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "Correction",
    "ImagePlane",
    "corrected_wcs",
    "existing_correction",
    "image_plane",
    "transported",
]

_ANGLES = ("v2_ref", "v3_ref", "roll_ref")
_INVERSE_TOLERANCE = 1e-9  # px
_FRAMES = ("v2v3corr", "v2v3vacorr", "v2v3")


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """An image and the tangent plane in which it is corrected.

    Attributes
    ----------
    wcs : gwcs.WCS
    plane : TangentPlane
    shape : tuple of int
        (ny, nx).
    """

    wcs: WCS
    plane: TangentPlane
    shape: tuple[int, int]
    _to_v2v3: Any
    _from_v2v3: Any
    _rotation: NDArray[np.float64]

    def from_pixels(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Positions (n, 2) in the plane, arcsec, of 0-based pixel positions (n, 2)."""
        x, y = np.asarray(xy, dtype=np.float64).reshape(-1, 2).T
        v2v3 = np.stack(self._to_v2v3(x, y), axis=-1).reshape(-1, 2) / 3600.0
        along = sky_to_vectors(v2v3) @ self._rotation.T
        return along[:, 1:] / along[:, :1] / ARCSEC

    def to_pixels(self, xy: ArrayLike) -> NDArray[np.float64]:
        """0-based pixel positions (n, 2) of positions (n, 2) in the plane, arcsec.

        The inverse polynomials of a JWST WCS are good to some 0.01 px; their result is
        improved until going there and back agrees to 1e-9 px (as far as the rounding allows).
        """
        plane = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        along = np.concatenate([np.ones((len(plane), 1)), plane * ARCSEC], axis=1) @ self._rotation
        v2 = np.degrees(np.arctan2(along[:, 1], along[:, 0])) * 3600.0
        v3 = np.degrees(np.arctan2(along[:, 2], np.hypot(along[:, 0], along[:, 1]))) * 3600.0
        pixels = np.stack(self._from_v2v3(v2, v3), axis=-1).reshape(-1, 2)
        for _ in range(5):
            step = (plane - self.from_pixels(pixels)) @ np.linalg.inv(self._jacobian).T
            pixels = pixels + step
            if not (np.abs(step) > _INVERSE_TOLERANCE).any():
                break
        return pixels

    def to_sky(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Right ascension and declination (n, 2) in degrees of 0-based pixel positions (n, 2)."""
        return self.plane.to_sky(self.from_pixels(xy))

    @cached_property
    def outline(self) -> NDArray[np.float64]:
        """Corners of the image (its bounding box) in the plane, arcsec, shape (4, 2)."""
        (x0, x1), (y0, y1) = box_edges(self.wcs, self.shape)
        return self.from_pixels([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])

    @cached_property
    def pixel_scale(self) -> float:
        """Arcsec per pixel in the middle of the image."""
        return float(np.sqrt(abs(np.linalg.det(self._jacobian))))

    @cached_property
    def _jacobian(self) -> NDArray[np.float64]:
        """Derivatives of the plane by pixels in the middle of the image, shape (2, 2)."""
        x, y = (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2
        at = self.from_pixels([[x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]])
        return np.stack([at[1] - at[0], at[3] - at[2]], axis=-1) / 2


def image_plane(
    wcs: WCS, wcsinfo: Mapping[str, Any], shape: tuple[int, int], name: str | None = None
) -> ImagePlane:
    """Find the plane in which an image is corrected.

    Parameters
    ----------
    wcs : gwcs.WCS
        With the frames of a JWST image. A correction that it contains already is kept: a new one
        acts after it.
    wcsinfo : mapping
        With ``v2_ref, v3_ref`` (arcsec) and ``roll_ref`` (degrees).
    shape : tuple of int
        (ny, nx).
    name : str, optional
        The file, for messages.

    Raises
    ------
    InputError
        If the WCS is none of a JWST image, or a reference angle is missing.
    """
    angles = _reference_angles(wcsinfo, name)
    frame = _last_v2v3_frame(wcs, name)
    names = wcs.available_frames
    rotation = _rotation(angles)
    plane = TangentPlane(rotation[[1, 2, 0]] @ _v2v3_to_sky(wcs, frame, rotation, name))
    return ImagePlane(
        wcs=wcs,
        plane=plane,
        shape=(int(shape[0]), int(shape[1])),
        _to_v2v3=wcs.get_transform(names[0], frame),
        _from_v2v3=wcs.get_transform(frame, names[0]),
        _rotation=rotation,
    )


def _reference_angles(wcsinfo: Mapping[str, Any], name: str | None) -> dict[str, float]:
    angles = {key: wcsinfo.get(key) for key in _ANGLES}
    missing = [key for key, value in angles.items() if value is None or not np.isfinite(value)]
    if missing:
        found = f"no {', '.join(key.upper() for key in missing)} in the header"
        raise InputError(name, found, "V2_REF, V3_REF and ROLL_REF, as assign_wcs writes them")
    return {key: float(value) for key, value in angles.items() if value is not None}


def _last_v2v3_frame(wcs: WCS | None, name: str | None) -> str:
    expected = "an image with a WCS from assign_wcs (detector, v2v3, ..., world)"
    if wcs is None:
        raise InputError(name, "no WCS (meta.wcs)", expected)
    frames = list(wcs.available_frames)
    present = [frame for frame in _FRAMES if frame in frames]
    if not present or wcs.pixel_n_dim != 2 or wcs.world_n_dim != 2:
        raise InputError(name, f"a WCS with the frames {', '.join(frames)}", expected)
    return present[0]


def _rotation(angles: Mapping[str, float]) -> NDArray[np.float64]:
    """Matrix from unit vectors of (V2, V3) to (tangent point, plane x, plane y)."""
    v2, v3, roll = (
        np.radians(angles["v2_ref"] / 3600.0),
        np.radians(angles["v3_ref"] / 3600.0),
        np.radians(angles["roll_ref"]),
    )
    point = [np.cos(v3) * np.cos(v2), np.cos(v3) * np.sin(v2), np.sin(v3)]
    along_v2 = np.array([-np.sin(v2), np.cos(v2), 0.0])
    along_v3 = np.cross(point, along_v2)
    x = np.cos(roll) * along_v2 + np.sin(roll) * along_v3
    y = -np.sin(roll) * along_v2 + np.cos(roll) * along_v3
    return np.array([point, x, y])


def _v2v3_to_sky(
    wcs: WCS, frame: str, rotation: NDArray[np.float64], name: str | None
) -> NDArray[np.float64]:
    """Matrix (3, 3) that turns unit vectors (as rows) of V2 and V3 into those of the sky."""
    to_sky = wcs.get_transform(frame, wcs.available_frames[-1])
    # five points some degrees apart give the matrix to rounding, and show if it is no rotation
    offsets = np.array([[0, 0], [0.1, 0], [-0.1, 0.02], [0, 0.1], [0.03, -0.1]])
    around = np.concatenate([np.ones((5, 1)), offsets], axis=1) @ rotation
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    v2 = np.degrees(np.arctan2(around[:, 1], around[:, 0])) * 3600.0
    v3 = np.degrees(np.arcsin(around[:, 2])) * 3600.0
    vectors = sky_to_vectors(np.stack(to_sky(v2, v3), axis=-1))
    u, _, vt = np.linalg.svd(around.T @ vectors)
    turn = u @ vt
    off = np.abs(around @ turn - vectors).max()
    if not off < 1e-10:
        found = f"a step from {frame} to the sky that is no rotation ({off:.1e} rad off)"
        raise InputError(name, found, "a WCS as assign_wcs makes it")
    return turn


def corrected_wcs(
    wcs: WCS, wcsinfo: Mapping[str, Any], correction: Correction, name: str | None = None
) -> WCS:
    """Apply a correction to a GWCS.

    Parameters
    ----------
    wcs : gwcs.WCS
        Left as it is.
    wcsinfo : mapping
        With ``v2_ref, v3_ref`` (arcsec) and ``roll_ref`` (degrees).
    correction : Correction
        In the plane of `image_plane`.
    name : str, optional
        The file, for messages.

    Returns
    -------
    gwcs.WCS
        With the frame ``v2v3corr`` after ``v2v3vacorr`` (or ``v2v3``), as tweakwcs builds it; a
        frame that is there already gets the product of both corrections. The bounding box and the
        array shape are kept.

    Raises
    ------
    InputError
        If the WCS is none of a JWST image.
    """
    from astropy.modeling.models import Identity
    from gwcs import WCS
    from tweakwcs import JWSTWCSCorrector

    angles = _reference_angles(wcsinfo, name)
    _last_v2v3_frame(wcs, name)
    box, shape = wcs.bounding_box, wcs.array_shape
    frames = wcs.available_frames
    optics = wcs.pipeline[: frames.index("v2v3")] if "v2v3" in frames else []
    beyond = wcs.pipeline[len(optics) :]
    # tweakwcs copies what it is given three times, and the distortion is nearly all of it
    light = WCS([(optics[0].frame, Identity(2)), *beyond]) if optics else wcs
    try:
        corrector = JWSTWCSCorrector(light, angles)
    except (ValueError, KeyError) as error:
        raise InputError(
            name, f"a WCS that cannot be corrected ({error})", "an image with a WCS from assign_wcs"
        ) from None
    corrector.set_correction(matrix=correction.matrix, shift=correction.shift)
    steps = [(step.frame, deepcopy(step.transform)) for step in optics]
    moved = WCS([*steps, *corrector.wcs.pipeline[1:]], name=wcs.name)
    if box is not None:
        moved.bounding_box = box.bounding_box(order="F")
    moved.array_shape = shape
    return moved


def existing_correction(wcs: WCS) -> Correction | None:
    """Return the correction that a GWCS contains already; None if it contains none."""
    frames = wcs.available_frames
    if "v2v3corr" not in frames:
        return None
    affine = wcs.pipeline[frames.index("v2v3corr") - 1].transform["tp_affine"]
    return Correction(affine.matrix.value, np.asarray(affine.translation.value) / ARCSEC)
