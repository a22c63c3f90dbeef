"""What is seen to before any work: files, folders, values of options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from webbalign.cli.commands import STEPS
from webbalign.cli.errors import UsageError
from webbalign.cli.parser import Parsed
from webbalign.core.errors import InputError, OptionError
from webbalign.products.addresses import is_address
from webbalign.products.inputs import require_file
from webbalign.products.remote import all_local

__all__ = ["check_folder", "check_options", "require_files"]

# Options that name a file that is read, and options that name bits of the data quality.
_FILES_READ = {
    "config_file": "a parameter file (ASDF)",
    "override_psfmask": "a PSFMASK file",
    "catfile": "a text file of images and their catalogs",
    "output_wcs": "an ASDF file with a WCS",
}
_NO_FILE = ("", "derived", "n/a")
_BITS = ("good_bits", "bad_bits")


def check_options(parsed: Parsed, step: str | None = None) -> None:
    """See before any work that the options can be followed.

    Parameters
    ----------
    parsed : Parsed
    step : str, optional
        The step to which the options belong that name no step.

    Raises
    ------
    InputError
        If a file that is to be read is missing, or the output folder is none.
    UsageError
        If the values of a step's options cannot stand.
    """
    given: dict[str, dict[str, Any]] = {}
    for target, value in parsed.values.items():
        name = target[-1]
        if name in _FILES_READ and value is not None:
            _check_file(name, value)
        owner = target[0] if len(target) == 2 else step
        if owner is not None:
            given.setdefault(owner, {})[name] = value
    try:
        for owner, values in given.items():
            STEPS[owner].check(values)
            _check_bits(values)
    except OptionError as error:
        raise UsageError(str(error)) from None
    check_folder(Path(parsed.get("output_dir", default=".")).expanduser())


def _check_file(option: str, name: str) -> None:
    if name.strip().lower() in _NO_FILE:
        return
    require_file(name, _FILES_READ[option])
    if option != "config_file":
        return
    from stpipe import config_parser

    try:
        config_parser.load_config_file(name)
    except Exception as error:  # whatever its two readers raise
        raise InputError(name, f"not readable ({error})", _FILES_READ[option]) from error


def _check_bits(values: dict[str, Any]) -> None:
    from webbalign.products.flags import interpret_bits

    for name in _BITS:
        if name in values:
            interpret_bits(values[name], name)


def check_folder(folder: Path) -> None:
    """See that products can be written into a folder, which need not be there yet.

    Raises
    ------
    InputError
        If it, or what it would be made in, is a file or cannot be written.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(existing, "a file, not a folder", "a folder for the products")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(existing, "no permission to write", "another folder for the products")


def require_files(names: list[str]) -> None:
    """See that every input is a file; those elsewhere are fetched, and named by their paths here.

    Parameters
    ----------
    names : list of str
        Addresses among them are replaced.

    Raises
    ------
    InputError
        Naming the first that is not, or cannot be fetched.
    """
    if any(map(is_address, names)):
        names[:] = map(str, all_local(names))
    for name in names:
        path = Path(name)
        if not path.exists():
            raise InputError(name, "no such file", "a file that exists")
        if path.is_dir():
            raise InputError(name, "a folder, not a file", "a file")
