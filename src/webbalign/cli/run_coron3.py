"""The command coron3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_options, require_files
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus, explain
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import pairs, report
from webbalign.cli.running import EXECUTION, chosen_executor, for_stpipe, not_aligned, written
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import WebbalignError
from webbalign.execution.fresh_processes import fresh_processes

__all__ = ["run_coron3"]

# As Coron3Pipeline has it, which is not imported yet.
_WORKERS_NEED = ("webbalign.pipelines.coron3",)
_NOT_OF_THE_PIPELINE = ("dry_run", "star_flux", *EXECUTION)


def run_coron3(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Run the pipeline, or say what it would take; print its table."""
    associations = parsed.positionals
    require_files(associations)
    check_options(parsed)
    pairs(parsed.get("mark") or ())
    options = pipeline_options(parsed)
    # the server of the workers imports while this process does, on another core
    works = options["executor"] == "processes" and not parsed.get("dry_run", default=False)
    with fresh_processes(_WORKERS_NEED if works else ()):
        return _run(associations, options, parsed, terminal)


def _run(
    associations: list[str], options: dict[str, Any], parsed: Parsed, terminal: Terminal
) -> int:
    from webbalign.pipelines import coron3

    terminal.adopt_libraries()
    if parsed.get("dry_run", default=False):
        plans = [str(coron3.plan(name, **options)) for name in associations]
        terminal.record(plans=plans)
        terminal.say("\n\n".join(plans))
        return ExitStatus.OK
    if len(associations) > 1:
        return _run_several(associations, options, parsed, terminal)
    result = coron3.run(associations[0], progress=terminal.progress(), **options)
    terminal.close()
    terminal.record(result.files, runs=[_facts(associations[0], result)])
    terminal.say(result.summary.text)
    _report(result.model_path, parsed, terminal)
    return not_aligned(parsed) if result.exit_status else ExitStatus.OK


def _run_several(
    associations: list[str], options: dict[str, Any], parsed: Parsed, terminal: Terminal
) -> int:
    """Run one association after the other, or side by side; print what became of each."""
    from webbalign.pipelines.several import run_several, several_text

    chosen = options.pop("executor")
    runs = []
    progress = terminal.progress()
    for run in run_several(associations, executor_of=chosen, progress=progress, **options):
        runs.append(run)
        if run.result is not None:
            terminal.say(f"{run.association}\n{run.result.summary.text}\n")
    terminal.close()
    terminal.say(several_text(runs, explain))
    terminal.record(runs=[_facts(run.association, run.result, run.error) for run in runs])
    for run in runs:
        if run.result is not None:
            terminal.record(run.result.files)
            _report(run.result.model_path, parsed, terminal)
    if any(run.error is not None for run in runs):
        failed = [run.association for run in runs if run.error is not None]
        raise WebbalignError(
            f"{len(failed)} of {len(runs)} associations failed: {', '.join(failed)}"
        )
    unaligned = any(run.result is not None and run.result.exit_status for run in runs)
    return not_aligned(parsed) if unaligned else ExitStatus.OK


def _facts(association: str, result: Any, error: Exception | None = None) -> dict[str, Any]:
    """Return what programs are told of one association."""
    facts = {"association": association, "error": None if error is None else explain(error)}
    if result is None:
        return {**facts, "status": "FAILED"}
    return {
        **facts,
        "status": "NOT_ALIGNED" if result.exit_status else "ALIGNED",
        "product": result.model_path,
        **result.summary.notes,
    }


def _report(combined: Path | None, parsed: Parsed, terminal: Terminal) -> None:
    """Write the report of a combined image, if there is one."""

    def write() -> list[Path]:
        from webbalign.products.coron_products import coron_products
        from webbalign.reports.coron3_page import report_coron3

        assert combined is not None
        marks = pairs(parsed.get("mark") or ())
        return report_coron3(
            coron_products(combined), star_flux=parsed.get("star_flux"), marks=marks
        )

    if combined is not None:
        report(parsed, terminal, write)


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
