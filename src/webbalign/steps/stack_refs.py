"""stack_refs: all integrations of all PSF exposures in one cube."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.mapped import release, visit
from webbalign.products import models
from webbalign.products.associations import load_association
from webbalign.products.headers import read_header
from webbalign.products.held import hold
from webbalign.products.shared_arrays import scratch_array
from webbalign.steps._memory import cut
from webbalign.steps.base import WebbStep

__all__ = ["Gathered", "StackRefsStep", "exposure_of_references"]

log = logging.getLogger(__name__)


@dataclass(repr=False, eq=False)
class Gathered:
    """The integrations of some exposures, copied one exposure after the other.

    Attributes
    ----------
    room : dict of ndarray
        data, err and dq of the stack, (npsfs, ny, nx).
    names : list of str
        The exposures that are in it.
    counts : list of int
        Number of integrations of each.
    like : CubeModel or None
        The first of them, for its metadata.
    """

    room: dict[str, np.ndarray]
    names: list[str | None] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    like: CubeModel | None = None

    def add(self, name: str | None, cube: CubeModel) -> None:
        """Copy an exposure to the end."""
        start = sum(self.counts)
        for key, array in self.room.items():
            images = getattr(cube, key)
            for i in visit(images):
                array[start + i] = images[i]
                release(array)
        self.names.append(name)
        self.counts.append(len(cube.data))
        self.like = self.like or cube


class StackRefsStep(WebbStep):
    """Stack the integrations of all PSF reference exposures into one cube."""

    class_alias = "webbalign_stack_refs"
    product = "psfstack"

    def process(
        self, source: str | Sequence[str | CubeModel] | Gathered, *more: str | CubeModel
    ) -> CubeModel:
        """Stack PSF exposures.

        Parameters
        ----------
        source : str, sequence or Gathered
            An association (its psf members are stacked), exposures as files or models, or what
            :meth:`gather` was filled with.

        Returns
        -------
        CubeModel
            SCI, ERR, DQ of shape (npsfs, ny, nx); extension PSFSRC tells exposure and integration
            of each image.

        Raises
        ------
        InputError
            If there is no exposure, or two of them differ in size (both are named).
        """
        gathered = source
        if not isinstance(gathered, Gathered):
            gathered = self._gathered([*_members(source), *more])
        stack = models.new_cube(gathered.like, **gathered.room)
        models.add_extension(stack, "PSFSRC", _origin(gathered.names, gathered.counts))
        self.record(stack, "stack_psfs")
        log.info("stacked %d images of %d PSF exposures", stack.shape[0], len(gathered.names))
        return stack

    def gather(self, shape: tuple[int, int, int]) -> Gathered:
        """Make room for a stack (npsfs, ny, nx) that is put together one exposure at a time."""
        return Gathered(self._room(shape))

    def _gathered(self, sources: Sequence[str | CubeModel]) -> Gathered:
        if not sources:
            raise InputError(None, "no PSF exposures to stack", "at least one")
        names, shapes = zip(*map(_name_and_shape, sources), strict=True)
        _check_sizes(names, shapes)
        gathered = self.gather((sum(nints for nints, _, _ in shapes), *shapes[0][1:]))
        for item, name in zip(sources, names, strict=True):
            gathered.add(name, self._opened(item, header=gathered.like is None))
        return gathered

    def _opened(self, source: str | Path | CubeModel, *, header: bool) -> CubeModel:
        if isinstance(source, JwstDataModel):
            return models.open_cube(source)
        return hold(source, self._folder, wcs=False, header=header)

    @property
    def _folder(self) -> Path:
        """Where files may lie while the step works."""
        folder = getattr(self.parent, "output_folder", None)
        return folder or Path(self.make_output_path()).parent

    def _room(self, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Return arrays for the stack: in memory, or in scratch files if they do not fit."""
        npsfs, ny, nx = shape
        kinds = {"data": np.float32, "err": np.float32, "dq": np.uint32}
        if cut(self.runtime, npsfs, ny * nx).in_memory:
            return {name: np.empty(shape, kind) for name, kind in kinds.items()}
        return {name: scratch_array(self._folder, shape, kind) for name, kind in kinds.items()}


def _members(source: Any) -> list[Any]:
    if isinstance(source, JwstDataModel):
        return [source]
    if isinstance(source, str | Path):
        is_association = str(source).endswith(".json")
        return list(load_association(source).psf) if is_association else [source]
    return list(source)


def _name_and_shape(source: str | Path | CubeModel) -> tuple[str | None, tuple[int, int, int]]:
    if isinstance(source, JwstDataModel):
        return source.meta.filename, models.open_cube(source, wcs=False).shape
    header = read_header(source)
    return Path(source).name, (header.nints, *header.image_shape)


def _check_sizes(names: Sequence[str | None], shapes: Sequence[tuple[int, int, int]]) -> None:
    _, first_ny, first_nx = shapes[0]
    for name, (_, ny, nx) in zip(names, shapes, strict=True):
        if (ny, nx) != (first_ny, first_nx):
            raise InputError(
                name,
                f"images of {nx} x {ny} pixels",
                f"{first_nx} x {first_ny} as in {names[0]} (all PSF exposures alike)",
            )


def _origin(names: Sequence[str | None], counts: Sequence[int]) -> np.ndarray:
    known = [(name or f"exposure{i}").encode() for i, name in enumerate(names)]
    dtype = [("psf_int", "i4"), ("filename", f"S{max(map(len, known))}"), ("integration", "i4")]
    rows = [(name, i) for name, count in zip(known, counts, strict=True) for i in range(count)]
    return np.array([(number, *row) for number, row in enumerate(rows)], dtype)


def exposure_of_references(stack: JwstDataModel, npsfs: int) -> np.ndarray:
    """Return for each reference the number of the exposure it comes from (ints, shape (npsfs,)).

    A stack of unknown origin counts every image as an exposure of its own.
    """
    table = models.extension(stack, "PSFSRC")
    if table is None or len(table) != npsfs:
        return np.arange(npsfs)
    return np.unique(table["filename"], return_inverse=True)[1]
