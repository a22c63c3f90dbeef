"""The commands that run one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_options, require_files
from webbalign.cli.commands import STEPS, Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import pictures
from webbalign.cli.running import EXECUTION, for_stpipe, not_aligned, pool_for, written
from webbalign.cli.summaries import changed_since, snapshot
from webbalign.cli.terminal import Terminal

__all__ = ["run_step", "step_options"]

# Of the step commands' flags, those that the step itself does not know.
_NOT_OF_THE_STEP = (*EXECUTION, "overwrite", "resume", "save_parameters")

# Steps that treat each of their files by itself; the others take all arguments at once.
_ONE_BY_ONE = frozenset({"outlier_detection"})
_TAKES_A_LIST = frozenset({"stack_refs", "resample"})


def run_step(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Run the step of this command on the files that were named."""
    require_files(parsed.positionals)
    entry = STEPS[command.name.replace("-", "_")]
    check_options(parsed, entry.name)
    import webbalign.steps
    from webbalign.pipelines.planning import expected_step_seconds

    step = getattr(webbalign.steps, entry.class_name)
    terminal.adopt_libraries()
    options = step_options(parsed)
    if entry.name in _TAKES_A_LIST and len(parsed.positionals) > 1:
        # stpipe names the product of a list after the step
        options.setdefault("output_file", Path(parsed.positionals[0]).name)
    status: int = ExitStatus.OK
    progress = terminal.progress()
    before = snapshot(options["output_dir"])
    with pool_for(parsed, expected_step_seconds(entry.name, parsed.positionals)) as pool:
        for inputs in _calls(entry.name, parsed.positionals):
            instance = step.create(
                parsed.positionals[0],
                save_results=True,
                map=pool.map,
                workers=pool.workers,
                shares_memory=pool.shares_memory,
                memory=parsed.get("memory"),
                progress=progress,
                overwrite=parsed.get("overwrite", default=True),
                resume=parsed.get("resume", default=False),
                **options,
            )
            if parsed.get("save_parameters") is not None:
                instance.export_config(parsed.get("save_parameters"))
            result = instance.run(*inputs)
            if entry.name == "align_refs" and not _all_aligned(result):
                status = not_aligned(parsed)
    products = changed_since(before, options["output_dir"])
    terminal.record(products)
    pictures(parsed, terminal, [path for path in products if path.suffix == ".fits"])
    return status


def step_options(parsed: Parsed) -> dict[str, Any]:
    """Return what the step is to be told: what the user wrote, and where to write."""
    options = for_stpipe(written(parsed, without=_NOT_OF_THE_STEP))
    folder = Path(options.get("output_dir", "."))
    folder.mkdir(parents=True, exist_ok=True)
    return {**options, "output_dir": str(folder)}


def _calls(step: str, names: list[str]) -> list[list[Any]]:
    # stpipe looks for names without a folder beside the first file, not in the current folder
    names = [name if os.path.dirname(name) else os.path.join(os.curdir, name) for name in names]
    if step in _ONE_BY_ONE:
        return [[name] for name in names]
    if step in _TAKES_A_LIST and len(names) > 1:
        return [[names]]
    return [list(names)]


def _all_aligned(result: Any) -> bool:
    """Tell whether every fit of an alignment went well."""
    from webbalign.products.models import extension

    table = extension(result, "SHIFTS")
    return table is None or all(status == b"OK" for status in table["status"])
