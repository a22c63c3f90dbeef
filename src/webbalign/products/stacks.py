"""The dithers of a visit on one grid and averaged: images for the cross-correlation of visits.

All stacks of a field lie on one tangent-plane grid, each cut to the part of it that others see as
well, so that memory grows with the overlaps and not with the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.image_pairs import GridImage
from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products._dither_alignment import align_layers, level_layers
from webbalign.products._frame_reprojection import GridPart, reprojected
from webbalign.products.corrector import image_plane
from webbalign.products.flags import interpret_bits
from webbalign.products.image_files import ImageInfo, read_image, read_info
from webbalign.products.stacking_options import Stacking

__all__ = ["Box", "Stacking", "StackGrid", "boxes_of_overlap", "stack_grid", "stack_images"]

# deviation from the median of the dithers, in errors and in slopes per px, that is rejected
_SIGMA, _SLOPE = 5.0, 0.5


@dataclass(frozen=True)
class Box:
    """Part of a grid: rows y0 to y1, columns x0 to x1 (ends not included); indices may be < 0."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return max(self.y1 - self.y0, 0), max(self.x1 - self.x0, 0)

    def __bool__(self) -> bool:
        return min(self.shape) > 0

    def common(self, other: Box) -> Box:
        """Return the part in both."""
        return Box(
            max(self.y0, other.y0), min(self.y1, other.y1),
            max(self.x0, other.x0), min(self.x1, other.x1),
        )  # fmt: skip

    def joined(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            min(self.y0, other.y0), max(self.y1, other.y1),
            min(self.x0, other.x0), max(self.x1, other.x1),
        )  # fmt: skip

    def grown(self, margin: int) -> Box:
        """Return the box with a margin."""
        return Box(self.y0 - margin, self.y1 + margin, self.x0 - margin, self.x1 + margin)


@dataclass(frozen=True, eq=False)
class StackGrid:
    """A tangent-plane grid: north up, east to the left, without end.

    Pixel (x, y), 0-based, lies at ``(-x, y) * pixel_scale`` arcsec in `plane` (x east, y north).

    Attributes
    ----------
    plane : TangentPlane
    pixel_scale : float
        Arcsec.
    """

    plane: TangentPlane
    pixel_scale: float

    def to_plane(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (n, 2) in the plane, arcsec, of 0-based pixel positions (n, 2)."""
        return xy * np.array([-self.pixel_scale, self.pixel_scale])

    def from_plane(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """0-based pixel positions (n, 2) of positions (n, 2) in the plane, arcsec."""
        return xy / np.array([-self.pixel_scale, self.pixel_scale])

    def box_of(self, info: ImageInfo) -> Box:
        """Part of the grid that an image covers."""
        own = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
        xy = self.from_plane(own.plane.map_to(self.plane, own.outline)[0])
        low, high = np.floor(xy.min(axis=0)), np.ceil(xy.max(axis=0)) + 1
        return Box(int(low[1]), int(high[1]), int(low[0]), int(high[0]))


def stack_grid(infos: Sequence[ImageInfo], options: Stacking | None = None) -> StackGrid:
    """Lay a grid over images, whatever their order.

    Parameters
    ----------
    infos : sequence of ImageInfo
        At least one.
    options : Stacking, optional

    Raises
    ------
    InputError
        If there is no image, or one has no WCS of a JWST image.
    """
    if not infos:
        raise InputError(None, "no images", "at least one")
    options = options or Stacking()
    planes = [image_plane(i.wcs, i.wcsinfo, i.shape, i.name) for i in infos]
    corners = np.concatenate([p.plane.to_sky(p.outline) for p in planes])
    vectors = sky_to_vectors(corners)
    # the middle of the box, not the mean: a sum depends on its order
    middle = (vectors.min(axis=0) + vectors.max(axis=0)) / 2
    scale = options.stack_pixel_scale or min(p.pixel_scale for p in planes)
    return StackGrid(TangentPlane.around(middle[None]), float(scale))


def boxes_of_overlap(
    grid: StackGrid, groups: Mapping[str, Sequence[ImageInfo]], margin: int
) -> dict[str, Box]:
    """Find the part of each group's area that other groups see as well.

    Parameters
    ----------
    grid : StackGrid
    groups : mapping
        Images of each group, by its name.
    margin : int
        Px by which the others may be displaced.

    Returns
    -------
    dict
        A box for each group; without area if it overlaps nothing.
    """
    whole = {}
    for name, infos in groups.items():
        boxes = [grid.box_of(info) for info in infos]
        box = boxes[0]
        for other in boxes[1:]:
            box = box.joined(other)
        whole[name] = box
    found = {}
    for name, own in whole.items():
        shared = [own.common(other.grown(margin)) for key, other in whole.items() if key != name]
        shared = [box for box in shared if box]
        box = shared[0] if shared else Box(0, 0, 0, 0)
        for other in shared[1:]:
            box = box.joined(other)
        found[name] = box
    return found


def stack_images(
    name: str,
    sources: Sequence[str | Path | JwstDataModel],
    grid: StackGrid,
    options: Stacking | None = None,
    *,
    box: Box | None = None,
) -> GridImage:
    """Average the dithers of a visit on the grid.

    Parameters
    ----------
    name : str
        Of the stack.
    sources : sequence of str, Path or ImageModel
        At least one.
    grid : StackGrid
    options : Stacking, optional
    box : Box, optional
        The part wanted; default: all that the images cover.

    Returns
    -------
    GridImage
        NaN, with weight 0, where there is no good pixel; the weight is the number of dithers.
        Backgrounds are matched to one another.

    Raises
    ------
    InputError
        If an image cannot be read or has no WCS.
    """
    if not sources:
        raise InputError(name, "no images to stack", "at least one")
    options = options or Stacking()
    bits = interpret_bits(options.stack_bad_bits, "stack_bad_bits")
    infos = [read_info(source) for source in sources]
    order = sorted(range(len(infos)), key=lambda k: infos[k].name)
    if box is None:
        boxes = [grid.box_of(info) for info in infos]
        box = boxes[0]
        for other in boxes[1:]:
            box = box.joined(other)
    if not box:
        empty = np.empty((0, 0), np.float32)
        return GridImage(name, empty, empty, (box.y0, box.x0), 0)
    layers = []
    for k in order:
        part = box.common(grid.box_of(infos[k]))
        if part:
            layers.append(_layer(sources[k], grid, box, part, bits, options.reproject_func))
    if not layers:
        nothing = np.full(box.shape, np.nan, np.float32)
        return GridImage(name, nothing, np.zeros(box.shape, np.float32), (box.y0, box.x0), 0)
    stacked = np.stack(layers)
    place: dict[str, NDArray[np.float64]] = {}
    if options.stack_align:
        found = align_layers(stacked)
        corner = np.array([box.x0, box.y0], dtype=np.float64)
        place = {"place_cov": found.place_cov, "place_point": found.centre + corner}
    data, weight = _coadded(stacked)
    return GridImage(name, data, weight, (box.y0, box.x0), len(layers), **place)


def _layer(
    source: str | Path | JwstDataModel,
    grid: StackGrid,
    box: Box,
    part: Box,
    bits: int,
    function: str,
) -> NDArray[np.float32]:
    """One image on the grid within the box, NaN where it has no good pixel."""
    image = read_image(source)
    # DQ is unsigned: bit 31 must not become a sign
    bad = (image.dq & np.uint32(bits)) != 0
    bad |= ~np.isfinite(image.data)
    info = image.info
    own = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
    there = GridPart(grid.plane, grid.pixel_scale, (part.y0, part.x0), part.shape)
    layer = np.full(box.shape, np.nan, np.float32)
    inside = (
        slice(part.y0 - box.y0, part.y1 - box.y0),
        slice(part.x0 - box.x0, part.x1 - box.x0),
    )
    layer[inside] = reprojected(image.data, bad, own, there, function)
    return layer


def _coadded(layers: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (ny, nx) of layers (n, ny, nx) without what stands out, and the number that entered."""
    level_layers(layers)
    good = np.isfinite(layers)
    if len(layers) > 2:
        good &= ~_standing_out(layers, good)
    count = good.sum(axis=0, dtype=np.float32)
    total = np.where(good, layers, np.float32(0)).sum(axis=0, dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.float32(np.nan)), count


def _median(layers: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median (ny, nx) of the good layers of each pixel; NaN where there is none."""
    # NaN is sorted to the end
    ordered = np.sort(np.where(good, layers, np.float32(np.nan)), axis=0)
    count = good.sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(layers) - 1), axis=0)[0]
    return np.where(count[0] > 0, 0.5 * (low + np.where(count[0] > 1, high, low)), np.nan)


def _standing_out(layers: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (n, ny, nx) too far from the median of at least three dithers."""
    median = _median(layers, good)
    filled = np.nan_to_num(median)
    slope = np.hypot(*np.gradient(filled))
    apart = np.abs(layers - median)
    sample = apart[:, ::5, ::5]
    sample = sample[np.isfinite(sample)]
    sigma = 1.4826 * float(np.median(sample)) * 1.2 if len(sample) else 0.0
    three = good.sum(axis=0) > 2
    with np.errstate(invalid="ignore"):
        return (apart > _SIGMA * sigma + _SLOPE * slope) & three
