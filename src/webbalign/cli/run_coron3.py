"""The command coron3."""

from __future__ import annotations

from typing import Any

from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.cli.run_steps import check_options, require_files
from webbalign.cli.terminal import Terminal

__all__ = ["run_coron3"]

_NOT_OF_THE_PIPELINE = ("dry_run", "strict", "quiet", "verbose", "debug", "log_file")


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
    if result.exit_status and parsed.get("strict", default=False):
        return ExitStatus.ERROR
    return result.exit_status


def pipeline_options(parsed: Parsed) -> dict[str, Any]:
    """Return what the user wrote, the options of the steps gathered under ``steps``."""
    options: dict[str, Any] = {}
    steps: dict[str, dict[str, Any]] = {}
    for target, value in parsed.values.items():
        name = target[-1]
        if isinstance(value, tuple):
            value = list(value)
        if len(target) == 2:
            steps.setdefault(target[0], {})[name] = value
        elif name not in _NOT_OF_THE_PIPELINE:
            options[name] = value
    return {**options, "steps": steps} if steps else options
