"""The commands that run one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from webbalign.cli import common
from webbalign.cli.commands import STEPS, Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import InputError
from webbalign.execution import executor

__all__ = ["require_files", "run_step", "step_options"]

# Of the step commands' flags, those that the step itself does not know.
_NOT_OF_THE_STEP = frozenset(
    name
    for options in (common.ExecutionOptions, common.TerminalOptions)
    for name in options.__dataclass_fields__
) | {"overwrite", "save_parameters"}

# Steps that treat each of their files by itself; the others take all arguments at once.
_ONE_BY_ONE = frozenset({"outlier_detection"})
_TAKES_A_LIST = frozenset({"stack_refs", "resample"})


def run_step(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Run the step of this command on the files that were named."""
    require_files(parsed.positionals)
    import webbalign.steps

    entry = STEPS[command.name.replace("-", "_")]
    step = getattr(webbalign.steps, entry.class_name)
    terminal.adopt_libraries()
    options = step_options(parsed)
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
                _save_parameters(instance, parsed.get("save_parameters"))
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
    if step in _ONE_BY_ONE:
        return [[name] for name in names]
    if step in _TAKES_A_LIST and len(names) > 1:
        return [[names]]
    return [list(names)]


def _save_parameters(step: Any, output: str) -> None:
    from webbalign.products.atomic import atomic_path

    with atomic_path(output) as temporary:
        step.export_config(temporary)


def _all_aligned(result: Any) -> bool:
    """Tell whether every fit of an alignment went well."""
    from webbalign.products.models import extension

    table = extension(result, "SHIFTS")
    return table is None or all(status == b"OK" for status in table["status"])
