"""The commands that run one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from webbalign.cli import common
from webbalign.cli.commands import STEPS, Command
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import InputError, OptionError
from webbalign.execution import executor

__all__ = [
    "check_folder",
    "check_options",
    "require_files",
    "run_step",
    "save_parameters",
    "step_options",
]

# Of the step commands' flags, those that the step itself does not know.
_NOT_OF_THE_STEP = frozenset(
    name
    for options in (common.ExecutionOptions, common.TerminalOptions)
    for name in options.__dataclass_fields__
) | {"overwrite", "save_parameters"}

# Steps that treat each of their files by itself; the others take all arguments at once.
_ONE_BY_ONE = frozenset({"outlier_detection"})
_TAKES_A_LIST = frozenset({"stack_refs", "resample"})

# Options that name a file that is read, and options that name bits of the data quality.
_FILES_READ = {
    "config_file": "a parameter file (ASDF)",
    "override_psfmask": "a PSFMASK file",
    "catfile": "a text file: image, its catalog",
    "output_wcs": "an ASDF file with a WCS",
}
_NO_FILE = ("", "derived", "n/a")
_BITS = ("good_bits", "bad_bits")


def run_step(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Run the step of this command on the files that were named."""
    require_files(parsed.positionals)
    entry = STEPS[command.name.replace("-", "_")]
    check_options(parsed, entry.name)
    import webbalign.steps

    step = getattr(webbalign.steps, entry.class_name)
    terminal.adopt_libraries()
    options = step_options(parsed)
    if entry.name in _TAKES_A_LIST and len(parsed.positionals) > 1:
        # stpipe names the product of a list after the step
        options.setdefault("output_file", Path(parsed.positionals[0]).name)
    status = ExitStatus.OK
    progress = terminal.progress()
    with executor(parsed.get("executor", default="serial"), parsed.get("workers")) as pool:
        for inputs in _calls(entry.name, parsed.positionals):
            instance = step.create(
                parsed.positionals[0],
                save_results=True,
                map=pool.map,
                progress=progress,
                overwrite=parsed.get("overwrite", default=True),
                **options,
            )
            if parsed.get("save_parameters") is not None:
                save_parameters(instance, parsed.get("save_parameters"))
            result = instance.run(*inputs)
            if entry.name == "align_refs" and not _all_aligned(result):
                status = ExitStatus.NOT_ALIGNED
    if status == ExitStatus.NOT_ALIGNED and parsed.get("strict", default=False):
        return ExitStatus.ERROR
    return status


def step_options(parsed: Parsed) -> dict[str, Any]:
    """Return what the step is to be told: what the user wrote, and where to write."""
    options: dict[str, Any] = {
        target[0]: list(value) if isinstance(value, tuple) else value
        for target, value in parsed.values.items()
        if len(target) == 1 and target[0] not in _NOT_OF_THE_STEP
    }
    folder = Path(options.get("output_dir", "."))
    folder.mkdir(parents=True, exist_ok=True)
    return {**options, "output_dir": str(folder)}


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
    if not Path(name).is_file():
        found = "is a folder" if Path(name).is_dir() else "no such file"
        raise InputError(name, found, _FILES_READ[option])
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
        raise InputError(existing, "is a file", "a folder for the products")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(existing, "cannot be written", "a folder for the products")


def require_files(names: list[str]) -> None:
    """See that every input is a file.

    Raises
    ------
    InputError
        Naming the first that is not.
    """
    for name in names:
        path = Path(name)
        if not path.exists():
            raise InputError(name, "no such file")
        if path.is_dir():
            raise InputError(name, "is a folder", "a file")


def _calls(step: str, names: list[str]) -> list[list[Any]]:
    # stpipe looks for names without a folder beside the first file, not in the current folder
    names = [name if os.path.dirname(name) else os.path.join(os.curdir, name) for name in names]
    if step in _ONE_BY_ONE:
        return [[name] for name in names]
    if step in _TAKES_A_LIST and len(names) > 1:
        return [[names]]
    return [list(names)]


def save_parameters(step: Any, output: str) -> None:
    """Write the parameters of a step into a file."""
    step.export_config(output)


def _all_aligned(result: Any) -> bool:
    """Tell whether every fit of an alignment went well."""
    from webbalign.products.models import extension

    table = extension(result, "SHIFTS")
    return table is None or all(status == b"OK" for status in table["status"])
