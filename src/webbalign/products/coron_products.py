"""The products of a coron3 run, ours or of jwst, found again in their folder and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from webbalign.core.errors import InputError
from webbalign.core.mapped import visit
from webbalign.products import models
from webbalign.products.filters import diffraction_limit
from webbalign.products.names import root
from webbalign.products.provenance import read_provenance

__all__ = [
    "CoronProducts",
    "ExposureProducts",
    "ReferenceProducts",
    "coron_products",
    "count_outliers",
    "find_coron_products",
    "mean_image",
]

_EXPECTED = "the _i2d, _psfsub and _crfints files of a coron3 run"


@dataclass(frozen=True)
class ExposureProducts:
    """What belongs to one science exposure; None for what is not there.

    Attributes
    ----------
    name : str
        Root of its file names.
    psfsub, psfalign, crfints : Path or None
    """

    name: str
    psfsub: Path
    psfalign: Path | None
    crfints: Path | None

    @cached_property
    def subtracted(self) -> Any:
        """The ``_psfsub`` model."""
        return models.open_cube(self.psfsub)

    @cached_property
    def after(self) -> np.ndarray:
        """Mean of the subtracted integrations (ny, nx)."""
        return mean_image(self.subtracted)

    @cached_property
    def before(self) -> np.ndarray | None:
        """Mean of the integrations (ny, nx) before subtraction."""
        if self.crfints is None:
            return None
        return mean_image(models.open_cube(self.crfints, wcs=False, header=False))

    @cached_property
    def n_flagged(self) -> np.ndarray | None:
        """Pixels flagged as outliers in each integration (nints,)."""
        return _flagged_in(self.crfints)

    @cached_property
    def shifts(self) -> np.ndarray | None:
        """The table of fitted shifts, as align_refs has written it."""
        return self._read("SHIFTS", self.psfalign)

    @cached_property
    def weight(self) -> np.ndarray | None:
        """Weight of the pixels (ny, nx) in the alignment."""
        return self._read("WEIGHT", self.psfalign)

    @cached_property
    def eigenvalues(self) -> np.ndarray | None:
        """Eigenvalues of the references, largest first."""
        return self._read("KLVALUES", self.psfsub)

    @cached_property
    def modes(self) -> np.ndarray | None:
        """The first Karhunen-Loeve modes (n, ny, nx)."""
        return self._read("KLMODES", self.psfsub)

    @cached_property
    def throughput(self) -> np.ndarray | None:
        """Share of a companion's light that is left, by distance (arcsec) from the star."""
        return self._read("KLTHRU", self.psfsub)

    @cached_property
    def n_modes(self) -> int | None:
        """Number of modes that were subtracted; None if the product does not say."""
        provenance = read_provenance(self.psfsub)
        limit = provenance and provenance.recipe.options.get("truncate", "")
        if self.eigenvalues is None or not (limit and limit.isdigit()):
            return None
        return min(int(limit), len(self.eigenvalues))

    @cached_property
    def mask_name(self) -> str | None:
        """What the weight was made of (R_PSFMAS)."""
        name = None if self.psfalign is None else fits.getheader(self.psfalign).get("R_PSFMAS")
        return None if name in (None, "", "N/A") else str(name)

    @property
    def star(self) -> tuple[float, float]:
        """0-based (x, y) of the star: CRPIX - 1, else the middle."""
        x, y = (getattr(self.subtracted.meta.wcsinfo, name) for name in ("crpix1", "crpix2"))
        ny, nx = self.after.shape
        inside = x is not None and y is not None and 0 < x <= nx and 0 < y <= ny
        return (x - 1.0, y - 1.0) if inside else ((nx - 1) / 2, (ny - 1) / 2)

    def _read(self, name: str, path: Path | None) -> np.ndarray | None:
        if path is None:
            return None
        with fits.open(path) as hdulist:
            return np.array(hdulist[name].data) if name in hdulist else None


@dataclass(frozen=True)
class ReferenceProducts:
    """What belongs to one exposure of a reference star.

    Attributes
    ----------
    name : str
        Root of its file names.
    crfints : Path or None
        None if it is not there.
    """

    name: str
    crfints: Path | None

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """Primary header; empty if the file is not there."""
        return {} if self.crfints is None else fits.getheader(self.crfints)

    @cached_property
    def n_flagged(self) -> np.ndarray | None:
        """Pixels flagged as outliers in each integration (nints,)."""
        return _flagged_in(self.crfints)


@dataclass(frozen=True)
class CoronProducts:
    """One combined image and what it was made of.

    Attributes
    ----------
    path : Path
        The ``_i2d`` file.
    exposures : tuple of ExposureProducts
    psfstack : Path or None
    """

    path: Path
    exposures: tuple[ExposureProducts, ...]
    psfstack: Path | None

    @cached_property
    def combined(self) -> Any:
        """The ``_i2d`` model."""
        return models.open_image(self.path)

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """Primary header of the combined image."""
        return fits.getheader(self.path)

    @property
    def resolution(self) -> float:
        """Wavelength over the diameter of the mirror (6.5 m), arcsec; NaN if not known."""
        instrument = self.combined.meta.instrument
        return diffraction_limit(instrument.filter, instrument.pupil)

    @cached_property
    def combined_on(self) -> str | None:
        """What brought the exposures together, ``wcs`` or ``star``; None if it is not told."""
        provenance = read_provenance(self.path)
        return None if provenance is None else provenance.recipe.options.get("combine_on")

    @cached_property
    def references(self) -> tuple[ReferenceProducts, ...]:
        """The exposures of the reference stars, as far as they are known."""
        if self.psfstack is None:
            return ()
        with fits.open(self.psfstack) as hdulist:
            names = hdulist["PSFSRC"].data["filename"] if "PSFSRC" in hdulist else ()
        files = [self.path.with_name(str(name).strip()) for name in dict.fromkeys(names)]
        files = files or _flagged_references(self.exposures)
        return tuple(ReferenceProducts(root(path), _existing(path)) for path in files)

    @property
    def files(self) -> list[Path]:
        """The files of the star, in the order in which they are made."""
        found = [path for e in self.exposures for path in (e.crfints, e.psfalign, e.psfsub)]
        return [path for path in (self.psfstack, *found, self.path) if path is not None]


def find_coron_products(source: str | Path) -> list[CoronProducts]:
    """Find the runs whose products lie in a folder (or the one of an ``_i2d`` file).

    Raises
    ------
    InputError
        If there is none, or a combined image lacks the images that it was made of.
    """
    source = Path(source)
    paths = sorted(source.glob("*_i2d.fits")) if source.is_dir() else [source]
    found = [coron_products(path) for path in paths if _is_coronagraphic(path)]
    if not found:
        raise InputError(source, "no products of a coron3 run", _EXPECTED)
    return found


def mean_image(exposure: Any) -> np.ndarray:
    """Return the mean over the good integrations of each pixel (ny, nx); NaN where none is good."""
    return models.mean_over_integrations(
        np.where(models.bad_in(exposure, i, models.DO_NOT_USE), np.nan, exposure.data[i])
        for i in visit(exposure.data, exposure.dq)
    )


def count_outliers(dq: np.ndarray) -> np.ndarray:
    """Count the pixels flagged as outliers in each integration (nints,)."""
    outlier = np.uint32(models.OUTLIER)
    return np.array([np.count_nonzero(dq[index] & outlier) for index in visit(dq)])


def _is_coronagraphic(path: Path) -> bool:
    try:
        header = fits.getheader(path)
    except OSError as error:
        raise InputError(path, f"not readable as FITS ({error})", _EXPECTED) from None
    return bool(header.get("CORONMSK")) or header.get("EXP_TYPE") in ("NRC_CORON", "MIR_LYOT")


def coron_products(path: str | Path) -> CoronProducts:
    """Return what a combined image (``_i2d``) was made of.

    Raises
    ------
    InputError
        If none of the images that it was made of lies beside it.
    """
    path = Path(path)
    members = _members(path)
    exposures = [_exposure(path.with_name(name)) for name in members]
    present = tuple(exposure for exposure in exposures if exposure.psfsub.is_file())
    if not present:
        wanted = members[0] if members else "the _psfsub files that it was made of"
        raise InputError(path, "none of its _psfsub files lies beside it", wanted)
    return CoronProducts(path, present, _existing(path.with_name(_other(path.name, "psfstack"))))


def _members(path: Path) -> Sequence[str]:
    """Return the names of the images that were combined.

    jwst names the inputs of the run instead of the ``_psfsub``.
    """
    with fits.open(path) as hdulist:
        if "HDRTAB" not in hdulist:
            return []
        names = hdulist["HDRTAB"].data["FILENAME"]
    own = dict.fromkeys(Path(str(name).strip()).name for name in names)
    return [_subtracted(path.with_name(name), path.name) for name in own]


def _subtracted(member: Path, combined: str) -> str:
    """Return the name of the ``_psfsub`` of a member, whatever it is called in the table."""
    if member.is_file() or member.stem.endswith("_psfsub"):
        return member.name
    found = sorted(path.name for path in member.parent.glob(f"{root(member)}_*_psfsub.fits"))
    # the identifier of the association is the last word before the suffix
    same = [name for name in found if name.split("_")[-2] in combined]
    return next(iter(same or found), member.name)


def _exposure(psfsub: Path) -> ExposureProducts:
    others = (psfsub.with_name(_other(psfsub.name, kind)) for kind in ("psfalign", "crfints"))
    return ExposureProducts(root(psfsub), psfsub, *map(_existing, others))


def _other(name: str, suffix: str) -> str:
    return f"{root(name)}_{suffix}.fits"


def _flagged_references(exposures: Sequence[ExposureProducts]) -> list[Path]:
    """Return the ``_crfints`` of reference stars in the folder, made under the same identifier."""
    kind = exposures[0].name.rpartition("_")[2]
    paths = exposures[0].psfsub.parent.glob(f"*_{kind}_crfints.fits")
    return sorted(path for path in paths if fits.getheader(path).get("IS_PSF"))


def _flagged_in(path: Path | None) -> np.ndarray | None:
    if path is None:
        return None
    with fits.open(path, memmap=False) as hdulist:
        return count_outliers(hdulist["DQ"].data)


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
