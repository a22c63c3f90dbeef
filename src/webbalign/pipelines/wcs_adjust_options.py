"""Options of wcs adjust, apart from what takes long to import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from webbalign.core.errors import OptionError
from webbalign.core.options import Options, declared, did_you_mean, opt
from webbalign.products.addresses import is_address

__all__ = [
    "METHOD_NAMES",
    "GetFiles",
    "ShowOptions",
    "WcsAdjustOptions",
    "catalog_place",
    "check_tweakreg_parameters",
    "method_for",
    "parse_method",
]

METHOD_NAMES = ("tweakreg", "cross_corr", "combined")
_INSTRUMENTS = ("nircam", "miri", "niriss")
# parameters of tweakreg that wcs adjust decides by its own options
_NOT_OF_A_BAND = {
    "group_by": "group_dithers and degroup_nircam_modules",
    "use_custom_catalogs": "custom_catalog_function",
    "catfile": "custom_catalog_function",
}


@dataclass(frozen=True)
class WcsAdjustOptions(Options):
    """What is measured, and how."""

    target: str = opt(
        "", "Name of the target, of the table and in tweakreg_parameters; empty: the folder's."
    )
    bands: tuple[str, ...] = opt(
        (), "Bands in which the corrections are measured: the folders of the target's folder."
    )
    method: str = opt(
        "tweakreg",
        "tweakreg (stars), cross_corr (images) or combined (both in one solution); or one for "
        "each instrument: '{nircam: tweakreg, miri: combined}' (tweakreg for those that are not "
        "named).",
    )
    alignment_dir: str = opt(".", "Folder of the alignment catalog.")
    alignment_catalog: str | None = opt(
        None,
        "Catalog with ra and dec (FITS, ECSV, CSV) to which the images are aligned, or GAIADR3 "
        "and so on. None: a visit is the reference.",
    )
    group_dithers: tuple[str, ...] = opt(
        (),
        "Instruments of which all dithers of a visit get one correction, measured as one. Of the "
        "others each exposure gets one, and the visit the mean of them.",
        choices=_INSTRUMENTS,
    )
    degroup_nircam_modules: bool = opt(
        False, "Whether the modules A and B of NIRCam get corrections of their own."
    )
    reproject_func: str = opt(
        "interp",
        "How dithers are brought together (cross_corr, combined).",
        choices=("interp", "exact", "adaptive"),
    )
    mix_bands: bool = opt(
        False,
        "Whether stacks of different bands are correlated as well, all bands of one method in one "
        "solution (cross_corr, combined). An offset between filters goes into what connects them.",
    )
    custom_catalog_function: str | None = opt(
        None,
        "Function, module.name, that makes the catalog of the stars of an image in place of the "
        "star finder (tweakreg, combined).",
    )
    consistency: float = opt(
        20.0,
        "By how much bands of a visit may differ, in mas, before they are called inconsistent.",
        min=0.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_method(self.method)


def parse_method(method: str | Mapping[str, str]) -> dict[str, str]:
    """Return the method by instrument; the key "" is for all others.

    Raises
    ------
    OptionError
        If there is no such method, or it cannot be read.

    >>> parse_method("{nircam: tweakreg, miri: cross_corr}")
    {'': 'tweakreg', 'nircam': 'tweakreg', 'miri': 'cross_corr'}
    """
    expected = f"{' or '.join(METHOD_NAMES)}, or {{instrument: method, ...}}"
    if isinstance(method, Mapping):
        pairs = {str(key).strip().lower(): str(value).strip() for key, value in method.items()}
    elif ":" in method or "{" in method:
        words = [part.split(":") for part in method.strip().strip("{}").split(",") if part.strip()]
        if any(len(part) != 2 for part in words):
            raise OptionError(f"option 'method' is {method!r} - give {expected}")
        pairs = {key.strip(" '\"").lower(): value.strip(" '\"") for key, value in words}
    else:
        pairs = {"": method.strip()}
    for instrument, name in pairs.items():
        if name not in METHOD_NAMES:
            raise OptionError(f"option 'method' is {name!r} - give {expected}")
        if instrument and instrument not in _INSTRUMENTS:
            known = ", ".join(_INSTRUMENTS)
            raise OptionError(f"option 'method' names {instrument!r} - give {known}")
    return {"": "tweakreg"} | pairs


def check_tweakreg_parameters(names: Iterable[str], where: str = "tweakreg_parameters") -> None:
    """See that tweakreg has options of these names, which have an effect on a band.

    Parameters
    ----------
    names : iterable of str
    where : str
        The file that they stand in, for messages.

    Raises
    ------
    OptionError
        Naming the first that it has not.
    """
    from webbalign.steps.tweakreg_options import TweakReg

    known = [option.name for option in declared(TweakReg) if option.name not in _NOT_OF_A_BAND]
    for name in names:
        if name in _NOT_OF_A_BAND:
            raise OptionError(f"{name!r} has no effect here - {where} - use {_NOT_OF_A_BAND[name]}")
        if name not in known:
            near = did_you_mean(name, known)
            what = f"did you mean {near[0]}?" if near else "see webbalign tweakreg --help"
            raise OptionError(f"no option {name!r} of tweakreg - {where} - {what}")


def method_for(method: str | Mapping[str, str], instrument: str) -> str:
    """Return the method for an instrument."""
    methods = parse_method(method)
    return methods.get(instrument.lower(), methods[""])


def catalog_place(folder: str | Path, name: str) -> str:
    """Return a catalog's path in the folder of the catalogs; a service's name, an address stay."""
    if is_address(name):
        return name
    if name.upper().startswith("GAIA") and not Path(name).suffix:
        return name
    return str(Path(folder).expanduser() / name)


@dataclass(frozen=True)
class GetFiles(Options):
    """Files of `webbalign wcs-adjust get`."""

    output_dir: str = opt(".", "Folder for the table; made if it is missing.")
    overwrite: bool = opt(False, "Measure all bands again, changed or not.")
    tweakreg_parameters_file: str | None = opt(
        None,
        "TOML file with options of tweakreg, each a value or nested by target, band, nircam_short "
        "and nircam_long, or instrument; PJPipe's configuration serves as well.",
    )
    figure: bool = opt(False, "Draw footprints, shifts and errors into a PNG beside the table.")


@dataclass(frozen=True)
class ShowOptions(Options):
    """What `webbalign wcs-adjust show` shows."""

    exposures: bool = opt(True, "List the exposures, too, not only the visits.")
    figure_file: str | None = opt(None, "Draw footprints, shifts and errors into this PNG.")
