"""Weights for the alignment of coronagraphic images: arrays only.

Inside the program a weight of 1 means full use, 0 ignored. Where there is no PSFMASK file, a weight
is derived from what is known about the coronagraph: it is low where the mask acts, because the
image of a star that moves behind a mask does not simply move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from webbalign.core._mask_shapes import (
    Point,
    bar_weight,
    hole_weight,
    quadrant_weight,
    round_weight,
)
from webbalign.core.errors import InputError, OptionError

__all__ = [
    "CONVENTIONS",
    "CORONAGRAPHS",
    "Coronagraph",
    "DerivedWeight",
    "coronagraph_named",
    "derive_weight",
    "hole_weight",
    "mask_centre",
    "to_weight",
]

Floats = NDArray[np.float64]

CONVENTIONS = ("weight", "masked")

# A star farther than this from where the mask is known to be was not behind it, px.
LARGEST_OFFSET = 5.0
# Rounding of files in float32.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Coronagraph:
    """What is known about one coronagraph mask.

    Sizes: Krist et al. 2010 (doi:10.1117/12.856488) for NIRCam; Boccaletti et al. 2015
    (doi:10.1086/682256) and 2022 (doi:10.1051/0004-6361/202244578) for MIRI.

    Attributes
    ----------
    name : str
        As in CORONMSK.
    kind : str
        ``round`` | ``bar`` | ``quadrants`` | ``lyot``.
    size : float
        Arcsec: radius or half-width where the transmission is one half; radius of the spot (lyot);
        half-width of the strip along the phase edges that is left out (quadrants).
    pixel_scale : float
        Arcsec per pixel, for data that do not say it.
    position : tuple of float or None
        0-based (x, y) in the subarray of this mask; None if only the data's reference point is
        known.
    shape : tuple of int or None
        (ny, nx) of that subarray: in an image of another size the position means nothing.
    narrow : float or None
        Half-width at the narrow end of a bar, which lies at large x; None for an even width.
    """

    name: str
    kind: str
    size: float
    pixel_scale: float
    position: Point | None = None
    shape: tuple[int, int] | None = None
    narrow: float | None = None


# Positions: round masks and Lyot spot from flight headers and the CRDS reference files; phase masks
# from Boccaletti et al. 2022. The taper of the short-wavelength bar is not used: its widest part
# everywhere.
CORONAGRAPHS = {
    mask.name: mask
    for mask in (
        Coronagraph("MASKA210R", "round", 0.40, 0.0312),
        Coronagraph("MASKA335R", "round", 0.64, 0.0629, (149.9, 174.1), (320, 320)),
        Coronagraph("MASKA430R", "round", 0.81, 0.0629),
        Coronagraph("MASKASWB", "bar", 0.40, 0.0312),
        Coronagraph("MASKALWB", "bar", 0.88, 0.0629, narrow=0.29),
        Coronagraph("4QPM_1065", "quadrants", 0.30, 0.11, (119.8, 110.9), (224, 288)),
        Coronagraph("4QPM_1140", "quadrants", 0.30, 0.11, (119.0, 111.2), (224, 288)),
        Coronagraph("4QPM_1550", "quadrants", 0.40, 0.11, (118.8, 112.3), (224, 288)),
        Coronagraph("LYOT_2300", "lyot", 2.16, 0.11, (144.0, 164.0), (304, 320)),
    )
}
_ALIASES = {"4QPM": "4QPM_1140", "LYOT": "LYOT_2300"}
# The quadrants of MIRI follow V2 and V3, which are turned by this angle on the detector, degrees.
_QUADRANT_ANGLE = -4.8


@dataclass(frozen=True)
class DerivedWeight:
    """A weight made without a file.

    Attributes
    ----------
    weight : ndarray of float64, shape (ny, nx)
        1 = full use, 0 = ignored.
    centre : tuple of float or None
        0-based (x, y) of the mask; None if no hole was made.
    centre_from : str
        ``header`` | ``known position`` | ``image`` | ``nowhere``.
    messages : tuple of str
        What was done, for the log.
    warnings : tuple of str
        What the user should look at.
    """

    weight: Floats
    centre: Point | None
    centre_from: str
    messages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def to_weight(values: ArrayLike, convention: str = "weight", *, name: str | None = None) -> Floats:
    """Return the weight that the values of a PSFMASK file mean.

    Parameters
    ----------
    values : array_like, shape (ny, nx)
        What the file holds, from 0 to 1; NaN is ignored.
    convention : str
        ``weight``: 1 is full use, as in all files of CRDS; ``masked``: 1 is ignored.
    name : str, optional
        The file, for messages.

    Raises
    ------
    InputError
        If the values are no image, are outside 0 to 1, or leave no pixel with weight.
    OptionError
        If the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise OptionError(
            f"option 'psfmask_convention' is {convention!r} - give {' | '.join(CONVENTIONS)}"
        )
    values = np.array(values, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(name, f"a mask of shape {values.shape}", "a 2-D image")
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(name, f"a mask with values from {low:g} to {high:g}", "values from 0 to 1")
    weight = np.clip(values if convention == "weight" else 1.0 - values, 0.0, 1.0)
    weight[~finite] = 0.0
    if not weight.any():
        other = CONVENTIONS[convention == "weight"]
        expected = f"a mask with some pixels to use, or psfmask_convention={other} if that is meant"
        raise InputError(name, f"the weight is zero everywhere ({convention=})", expected)
    return weight


def mask_centre(weight: ArrayLike) -> Point | None:
    """Return the 0-based (x, y) of the hole in a weight, None if it has none.

    A hole is a region of weight below one half that does not touch the edge of the image; the
    largest counts.
    """
    weight = np.asarray(weight, dtype=np.float64)
    labels, count = ndimage.label(weight < 0.5)
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[np.unique(np.concatenate(edges))] = 0
    sizes[0] = 0
    # single pixels are bad ones, not a mask
    if sizes.max() < 5:
        return None
    around = ndimage.binary_dilation(labels == sizes.argmax(), iterations=3)
    y, x = np.nonzero(around)
    depth = 1.0 - weight[y, x]
    return float(x @ depth / depth.sum()), float(y @ depth / depth.sum())


def coronagraph_named(name: str | None) -> Coronagraph | None:
    """Return what is known about a mask; names of old files (MASK335R) are known as well."""
    name = (name or "").strip().upper()
    name = _ALIASES.get(name, name)
    for prefix in ("MASKB", "MASK"):
        if name not in CORONAGRAPHS and name.startswith(prefix):
            name = f"MASKA{name.removeprefix(prefix)}"
    return CORONAGRAPHS.get(name)


def derive_weight(
    shape: tuple[int, int],
    coronagraph: str | None,
    *,
    centre: Point | None = None,
    pixel_scale: float | None = None,
    excluded: ArrayLike | None = None,
    image: ArrayLike | None = None,
    angle: float = _QUADRANT_ANGLE,
) -> DerivedWeight:
    """Make a weight from the known properties of a coronagraph.

    It is the transmission of the mask (round masks and bars of NIRCam), 0 within the spot (MIRI's
    Lyot mask) or 0 along the phase edges (MIRI's quadrants); 0 outside the science region; 1
    elsewhere. The mask is where the header puts the star if that is within 5 px of the mask's known
    position, else at the known position; without either, at the centre of symmetry of the image.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    coronagraph : str or None
        CORONMSK.
    centre : tuple of float, optional
        0-based (x, y) of the star as the header has it (CRPIX - 1).
    pixel_scale : float, optional
        Arcsec per pixel.
    excluded : array_like of bool, shape (ny, nx), optional
        Pixels outside the science region, or never valid.
    image : array_like, shape (ny, nx), optional
        The star, to find the mask where nothing else tells its position.
    angle : float
        Direction of one of the phase edges, degrees from +x to +y.

    Raises
    ------
    InputError
        If no pixel has weight.
    """
    known = coronagraph_named(coronagraph)
    place, centre_from, warnings = _place(shape, known, centre, image)
    weight = np.ones(shape)
    if known is None:
        warnings = (f"coronagraph {coronagraph or 'N/A'} is unknown: no hole is made", *warnings)
        place, centre_from = None, "nowhere"
    message = f"weight derived for {coronagraph or 'no coronagraph'}"
    if place is not None and known is not None:
        scale = pixel_scale or known.pixel_scale
        weight, words = _shape_of(known, shape, place, scale, angle)
        message += f": {words} at ({place[0]:.1f}, {place[1]:.1f}) from {centre_from}"
    if excluded is not None:
        weight[np.asarray(excluded, dtype=bool)] = 0.0
    if not weight.any():
        raise InputError(None, "no pixel is left to align on", "a PSFMASK that leaves some")
    return DerivedWeight(weight, place, centre_from, (message,), warnings)


def _place(
    shape: tuple[int, int], known: Coronagraph | None, centre: Point | None, image: ArrayLike | None
) -> tuple[Point | None, str, tuple[str, ...]]:
    """Decide where the mask is: (position, where that comes from, warnings)."""
    position = known.position if known is not None and known.shape == shape else None
    if centre is not None and not _inside(centre, shape):
        centre = None
    if centre is not None and position is not None:
        distance = float(np.hypot(centre[0] - position[0], centre[1] - position[1]))
        if distance > LARGEST_OFFSET:
            text = f"the header puts the star {distance:.1f} px from the known position of the mask"
            return position, "known position", (f"{text}; the known position is used",)
    if centre is not None:
        return centre, "header", ()
    if position is not None:
        return position, "known position", ()
    if image is not None:
        found = _symmetry_centre(np.asarray(image, dtype=np.float64))
        if found is not None:
            return found, "image", ("the position of the mask was found from the image alone",)
    return None, "nowhere", ("the position of the mask is unknown: no hole is made",)


def _inside(point: Point, shape: tuple[int, int]) -> bool:
    return 0 <= point[0] <= shape[1] - 1 and 0 <= point[1] <= shape[0] - 1


def _symmetry_centre(image: Floats) -> Point | None:
    """Return the point about which an image is most symmetric; None for an empty image.

    The image times itself turned by 180 degrees, summed over all shifts, has its maximum at twice
    the centre. The root tames the brightest speckles.
    """
    level = image - np.nanmedian(image) if np.isfinite(image).any() else image
    root = np.sqrt(np.nan_to_num(level, posinf=0.0, neginf=0.0).clip(0.0))
    if not root.any():
        return None
    size = [2 * n for n in image.shape]
    spectrum = np.fft.rfft2(root, size)
    convolved = np.fft.irfft2(spectrum**2, size)
    y, x = np.unravel_index(np.argmax(convolved), convolved.shape)
    return float(x) / 2.0, float(y) / 2.0


def _shape_of(
    mask: Coronagraph, shape: tuple[int, int], place: Point, scale: float, angle: float
) -> tuple[Floats, str]:
    """Return the weight of a known mask, and what it is in words."""
    size = mask.size / scale
    if mask.kind == "round":
        return round_weight(shape, place, size), "transmission of the round mask"
    if mask.kind == "bar":
        # the taper is 15 arcsec long, about the middle of the subarray
        middle = (shape[1] - 1) / 2.0, place[1]
        narrow = size if mask.narrow is None else mask.narrow / scale
        return bar_weight(shape, middle, (size, narrow), 15.0 / scale), "transmission of the bar"
    if mask.kind == "quadrants":
        return quadrant_weight(shape, place, size, angle), "strips along the phase edges"
    return hole_weight(shape, place, size), "hole of the Lyot spot"
