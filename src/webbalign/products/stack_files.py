"""Stacks of dithers as FITS images, and what their correlation gave as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from webbalign.core.image_pairs import GridImage, ImagePair, PairSolution
from webbalign.products.atomic import atomic_path
from webbalign.products.stacks import StackGrid

__all__ = ["write_pairs", "write_stack"]


def write_stack(stack: GridImage, grid: StackGrid, path: str | Path) -> Path:
    """Write a stack: SCI with a TAN WCS, and WHT, the number of dithers in each pixel."""
    ra, dec = grid.plane.centre
    y0, x0 = stack.origin
    step = grid.pixel_scale / 3600.0
    header = fits.Header(
        [
            ("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg"),
            ("CRVAL1", float(ra)), ("CRVAL2", float(dec)), ("RADESYS", "ICRS"),
            ("CRPIX1", 1.0 - x0), ("CRPIX2", 1.0 - y0), ("CDELT1", -step), ("CDELT2", step),
            ("NIMAGES", stack.n_images, "dithers in the stack"),
        ]
    )  # fmt: skip
    layers = [
        fits.ImageHDU(data, header, name=name)
        for name, data in (("SCI", stack.data), ("WHT", stack.weight))
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), *layers]).writeto(temporary)
    return path


def write_pairs(
    solution: PairSolution, contradicted: Sequence[ImagePair], path: str | Path
) -> Path:
    """Write all pairs as ECSV, in full precision: what was measured, and what is left of it.

    Parameters
    ----------
    solution : PairSolution
    contradicted : sequence of ImagePair
        Pairs that were left out of it.
    path : str or Path
    """
    from astropy.table import Column, Table

    pairs = [*solution.pairs, *contradicted]
    used = np.concatenate([solution.used, np.zeros(len(contradicted), dtype=bool)])
    closure = np.concatenate([solution.closure, np.full((len(contradicted), 2), np.nan)])
    table = Table(
        meta={"floor_mas": 1e3 * solution.floor, "chi2_reduced": float(solution.chi2_reduced)}
    )
    table["first"] = Column([pair.first for pair in pairs], dtype=str)
    table["second"] = Column([pair.second for pair in pairs], dtype=str)
    table["status"] = Column([str(pair.status) for pair in pairs], dtype=str)
    table["used"] = Column(used, dtype=bool)
    columns = (
        ("point", [pair.point for pair in pairs], "arcsec", "to which the shift belongs"),
        ("shift", [pair.shift for pair in pairs], "arcsec", "of the second, x to the east"),
        ("shift_cov", [pair.shift_cov for pair in pairs], "arcsec2", "as measured"),
        ("rotation", [pair.rotation for pair in pairs], "rad", "of the second, from x to y"),
        ("rotation_error", [pair.rotation_error for pair in pairs], "rad", "one sigma"),
        ("closure", closure, "arcsec", "what the solution leaves of the shift"),
        ("significance", [pair.significance for pair in pairs], None, "of the peak, in sigmas"),
        ("n_pixels", [float(pair.n_pixels) for pair in pairs], None, "in common"),
    )
    shapes = {"point": (2,), "shift": (2,), "shift_cov": (2, 2), "closure": (2,)}
    for name, values, unit, text in columns:
        numbers = np.array(values, dtype=np.float64).reshape(len(pairs), *shapes.get(name, ()))
        table[name] = Column(numbers, unit=unit, description=text)
    path = Path(path)
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")
    return path
