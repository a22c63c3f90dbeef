"""Writing PSFMASK reference files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.psfmask import derive_weight, hole_weight, to_weight
from webbalign.products.atomic import atomic_path, refuse_input
from webbalign.products.inputs import require_file
from webbalign.products.mask_checks import EXACT, problems_of_image, problems_of_keywords

__all__ = ["make_psfmask"]


def make_psfmask(
    output: str | Path,
    *,
    like: str | Path | None = None,
    radius: float | None = None,
    from_image: str | Path | ArrayLike | None = None,
    center: tuple[float, float] | None = None,
    instrument: str | None = None,
    filter: str | None = None,
    coronagraph: str | None = None,
    subarray: str | None = None,
    shape: tuple[int, int] | None = None,
    corner: tuple[int, int] | None = None,
    description: str | None = None,
    author: str | None = None,
    pedigree: str = "GROUND",
    useafter: str = "2022-01-01T00:00:00",
    overwrite: bool = True,
) -> Path:
    """Write a PSFMASK file that validates; its values are weights (1 = used).

    Parameters
    ----------
    output : str or Path
        The file.
    like : str or Path, optional
        Exposure from which instrument, filter, coronagraph, subarray, shape and the position of the
        star are taken where they are not given.
    radius : float, optional
        Of the central hole, px. Without it and without `from_image` the weight is that which the
        program derives for the coronagraph.
    from_image : str, Path or array_like, optional
        Weights from 0 to 1, as an array (ny, nx) or the first image of a FITS file.
    center : tuple of float, optional
        0-based (x, y) of the hole, px. Default: the star of `like`, else the known mask position.
    instrument, filter, coronagraph, subarray : str, optional
        Values of INSTRUME, FILTER, CORONMSK and SUBARRAY.
    shape : tuple of int, optional
        (ny, nx).
    corner : tuple of int, optional
        1-based detector column and row of the first pixel (SUBSTRT1, SUBSTRT2).
    description, author, pedigree, useafter : str, optional
        Values of DESCRIP, AUTHOR, PEDIGREE and USEAFTER.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If something needed is missing, or the file would not validate.
    """
    output = Path(output)
    if not overwrite and output.exists():
        raise InputError(output, "exists already", "another name")
    refuse_input(output, (name for name in (like, from_image) if isinstance(name, (str, Path))))
    if radius is not None and from_image is not None:
        raise InputError(output, "both a radius and an image are given", "one of them")
    known = _facts_of(like) if like is not None else {}
    given = {"instrument": instrument, "filter": filter, "coronagraph": coronagraph,
             "subarray": subarray, "shape": shape, "corner": corner, "star": center}  # fmt: skip
    facts = known | {name: value for name, value in given.items() if value is not None}
    weight, how = _weight(output, facts, radius, from_image)
    facts["description"] = description or f"PSFMASK weight (1 used, 0 ignored): {how}"
    facts |= {"author": author or "webbalign", "pedigree": pedigree, "useafter": useafter}
    _write(output, weight, facts)
    return output


def _weight(
    output: Path,
    facts: dict[str, Any],
    radius: float | None,
    from_image: str | Path | ArrayLike | None,
) -> tuple[NDArray[np.float64], str]:
    """Return the weight and how it was made, in words."""
    if from_image is not None:
        image, name = _image(from_image)
        weight = to_weight(image, "weight", name=name)
        if facts.get("shape", weight.shape) != weight.shape:
            found = f"{name} has shape {weight.shape}, the exposure {facts['shape']}"
            raise InputError(output, found, "the same shape (ny, nx)")
        return weight, f"from {name}"
    if "shape" not in facts:
        raise InputError(
            output,
            "the size of the mask is unknown",
            "--like or --shape (in Python: like or shape)",
        )
    star, coronagraph = facts.get("star"), facts.get("coronagraph")
    derived = derive_weight(
        facts["shape"], coronagraph, centre=star, pixel_scale=facts.get("pixel_scale")
    )
    if radius is None:
        return derived.weight, derived.messages[0]
    centre = star or derived.centre
    if centre is None:
        raise InputError(output, "the centre of the hole is unknown", "center (x, y) or like")
    where = f"hole of radius {radius:g} px at ({centre[0]:.2f}, {centre[1]:.2f})"
    return to_weight(hole_weight(facts["shape"], centre, radius), name=str(output)), where


def _image(source: str | Path | ArrayLike) -> tuple[ArrayLike, str]:
    if not isinstance(source, (str, Path)):
        return source, "array"
    from astropy.io import fits

    require_file(source, "an image")
    try:
        with fits.open(source) as hdulist:
            for hdu in hdulist:
                if hdu.is_image and hdu.data is not None:
                    return np.array(hdu.data, dtype=np.float64), Path(source).name
    except (OSError, TypeError, ValueError) as error:
        raise InputError(source, f"not readable as FITS ({error})", "an image") from None
    raise InputError(source, "no image in it", "a FITS image")


def _facts_of(like: str | Path) -> dict[str, Any]:
    """Return what an exposure says about the masks that serve it."""
    from astropy.io import fits

    from webbalign.products.headers import read_header

    exposure = read_header(like)
    with fits.open(like) as hdulist:
        primary, science = hdulist[0].header, hdulist["SCI"].header
        corner = primary.get("SUBSTRT1"), primary.get("SUBSTRT2")
        area = science.get("PIXAR_A2", primary.get("PIXAR_A2"))
    facts = {
        "instrument": exposure.instrument,
        "filter": exposure.filter,
        "coronagraph": exposure.coronagraph,
        "subarray": exposure.subarray,
        "detector": exposure.detector,
        "exp_type": exposure.exp_type,
        "shape": exposure.image_shape,
        "star": exposure.star_xy,
        "corner": None if None in corner else corner,
        "pixel_scale": float(area) ** 0.5 if area else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _write(output: Path, weight: NDArray[np.float64], facts: dict[str, Any]) -> None:
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    values = {
        "DATE": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        "FILENAME": output.name,
        **EXACT,
        "PEDIGREE": facts["pedigree"],
        "DESCRIP": facts["description"],
        "AUTHOR": facts["author"],
        "USEAFTER": facts["useafter"],
        "INSTRUME": facts.get("instrument", "").upper(),
        "DETECTOR": facts.get("detector", ""),
        "FILTER": facts.get("filter", "").upper(),
        "CORONMSK": facts.get("coronagraph", "").upper(),
        "EXP_TYPE": facts.get("exp_type", ""),
        "SUBARRAY": facts.get("subarray", "").upper(),
        "SUBSIZE1": weight.shape[1],
        "SUBSIZE2": weight.shape[0],
    }
    values |= dict(zip(("SUBSTRT1", "SUBSTRT2"), facts.get("corner", ()), strict=False))
    for keyword, value in values.items():
        if value != "":
            primary.header[keyword] = value
    image = fits.ImageHDU(weight.astype(np.float32), name="SCI")
    problems = [
        *problems_of_keywords(primary.header),
        *problems_of_image([("SCI", image.data)], None),
    ]
    if problems:
        found = "the mask would not be valid: " + "; ".join(map(str, problems))
        raise InputError(output, found, "these values as options, or an exposure as like")
    with atomic_path(output) as temporary:
        fits.HDUList([primary, image]).writeto(temporary)
