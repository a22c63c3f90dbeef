"""The command status."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from webbalign.cli.checks import check_options, require_files
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.run_coron3 import pipeline_options
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import InputError

if TYPE_CHECKING:
    from webbalign.products.provenance import Finding

__all__ = ["run_status", "status_text"]


def run_status(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Print the table of the products; the status tells whether all are done."""
    folder, *associations = parsed.positionals
    if not Path(folder).is_dir():
        raise InputError(folder, "no such folder", "the folder of products")
    require_files(associations)
    check_options(parsed)
    from webbalign.products.provenance import State, survey

    terminal.adopt_libraries()
    if not associations:
        found = survey(folder)
        undone = [item for item in found if item.state not in (State.DONE, State.FOREIGN)]
    else:
        from webbalign.pipelines.coron3 import status

        options = {**pipeline_options(parsed), "output_dir": folder}
        options.pop("executor")
        found = status(associations[0], **options)
        undone = [item for item in found if item.state is not State.DONE]
    print(status_text(found))
    return ExitStatus.NOT_ALIGNED if undone else ExitStatus.OK


def status_text(found: Sequence[Finding]) -> str:
    """Return the table: state, file, and why."""
    if not found:
        return "no products"
    width = max(len(item.path.name) for item in found)
    lines = [
        f"{item.state.value:8} {item.path.name:{width}}  {'; '.join(item.reasons)}".rstrip()
        for item in found
    ]
    counts = {item.state: 0 for item in found}
    for item in found:
        counts[item.state] += 1
    lines.append(", ".join(f"{count} {state.value}" for state, count in counts.items()))
    return "\n".join(lines)
