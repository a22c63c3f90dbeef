"""stack_refs: all integrations of all PSF exposures in one cube."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.products import models
from webbalign.products.associations import load_association
from webbalign.steps.base import WebbStep

__all__ = ["StackRefsStep", "exposure_of_references"]

log = logging.getLogger(__name__)


class StackRefsStep(WebbStep):
    """Stack the integrations of all PSF reference exposures into one cube."""

    class_alias = "webbalign_stack_refs"
    product = "psfstack"

    def process(self, source: str | Sequence[str | CubeModel], *more: str | CubeModel) -> CubeModel:
        """Stack PSF exposures.

        Parameters
        ----------
        source : str or sequence
            An association (its psf members are stacked), or exposures as files or models.

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
        sources = [*_members(source), *more]
        if not sources:
            raise InputError(None, "no PSF exposures to stack", "at least one")
        cubes = [models.open_cube(item, wcs=False) for item in sources]
        _check_sizes(cubes)
        stack = models.new_cube(
            cubes[0],
            np.concatenate([cube.data for cube in cubes]),
            np.concatenate([cube.err for cube in cubes]),
            np.concatenate([cube.dq for cube in cubes]),
        )
        models.add_extension(stack, "PSFSRC", _origin(cubes))
        self.record(stack, "stack_psfs")
        log.info("stacked %d images of %d PSF exposures", stack.shape[0], len(cubes))
        return stack


def _members(source: Any) -> list[Any]:
    if isinstance(source, JwstDataModel):
        return [source]
    if isinstance(source, str | Path):
        is_association = str(source).endswith(".json")
        return list(load_association(source).psf) if is_association else [source]
    return list(source)


def _check_sizes(cubes: Sequence[CubeModel]) -> None:
    first = cubes[0]
    for cube in cubes[1:]:
        if cube.shape[1:] != first.shape[1:]:
            (ny, nx), (first_ny, first_nx) = cube.shape[1:], first.shape[1:]
            raise InputError(
                cube.meta.filename,
                f"images of {nx} x {ny} pixels",
                f"{first_nx} x {first_ny} as in {first.meta.filename} (all PSF exposures alike)",
            )


def _origin(cubes: Sequence[CubeModel]) -> np.ndarray:
    names = [(cube.meta.filename or f"exposure{i}").encode() for i, cube in enumerate(cubes)]
    dtype = [("psf_int", "i4"), ("filename", f"S{max(map(len, names))}"), ("integration", "i4")]
    rows = [
        (name, i) for name, cube in zip(names, cubes, strict=True) for i in range(len(cube.data))
    ]
    return np.array([(number, *row) for number, row in enumerate(rows)], dtype)


def exposure_of_references(stack: JwstDataModel, npsfs: int) -> np.ndarray:
    """Return for each reference the number of the exposure it comes from (ints, shape (npsfs,)).

    A stack of unknown origin counts every image as an exposure of its own.
    """
    table = models.extension(stack, "PSFSRC")
    if table is None or len(table) != npsfs:
        return np.arange(npsfs)
    return np.unique(table["filename"], return_inverse=True)[1]
