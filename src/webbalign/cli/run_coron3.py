"""The command coron3."""

from __future__ import annotations

from typing import Any

from webbalign.cli.checks import check_options, require_files
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.cli.running import EXECUTION, chosen_executor, for_stpipe, not_aligned, written
from webbalign.cli.terminal import Terminal

__all__ = ["run_coron3"]

_NOT_OF_THE_PIPELINE = ("dry_run", *EXECUTION)


def run_coron3(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Run the pipeline, or say what it would take; print its table."""
    (association,) = parsed.positionals
    require_files([association])
    check_options(parsed)
    if len(parsed.get("mark") or ()) % 2:
        raise UsageError("--mark needs pairs of RA and Dec")
    from webbalign.pipelines import coron3

    terminal.adopt_libraries()
    options = pipeline_options(parsed)
    if parsed.get("dry_run", default=False):
        terminal.say(str(coron3.plan(association, **options)))
        return ExitStatus.OK
    result = coron3.run(association, progress=terminal.progress(), **options)
    terminal.close()
    terminal.say(result.summary.text)
    return not_aligned(parsed) if result.exit_status else ExitStatus.OK


def pipeline_options(parsed: Parsed) -> dict[str, Any]:
    """Return what the user wrote, the options of the steps gathered under ``steps``."""
    steps: dict[str, dict[str, Any]] = {}
    for target, value in parsed.values.items():
        if len(target) == 2:
            steps.setdefault(target[0], {})[target[1]] = value
    options = for_stpipe(written(parsed, without=_NOT_OF_THE_PIPELINE))
    options["executor"] = chosen_executor(parsed)
    for name in ("workers", "memory"):
        if parsed.get(name) is not None:
            options[name] = parsed.get(name)
    given = {name: for_stpipe(of_step) for name, of_step in steps.items()}
    return {**options, "steps": given} if given else options
