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
    folder, *inputs = parsed.positionals
    if not Path(folder).is_dir():
        raise InputError(folder, "no such folder", "the folder of products")
    require_files(inputs)
    check_options(parsed)
    from webbalign.products.provenance import State, survey

    terminal.adopt_libraries()
    if not _are_of_coron3(inputs):
        from webbalign.steps._image_inputs import gather

        found = survey(folder, gather(inputs).paths if inputs else ())
        undone = [item for item in found if item.state not in (State.DONE, State.FOREIGN)]
    else:
        from webbalign.pipelines.coron3 import status

        options = {**pipeline_options(parsed), "output_dir": folder}
        options.pop("executor")
        found = status(inputs[0], **options)
        undone = [item for item in found if item.state is not State.DONE]
    terminal.record(
        products=[
            {"file": item.path, "state": item.state.value, "reasons": item.reasons}
            for item in found
        ]
    )
    terminal.show(status_text(found, Path(folder)))
    return ExitStatus.NOT_ALIGNED if undone else ExitStatus.OK


def _are_of_coron3(inputs: Sequence[str]) -> bool:
    """Tell whether an association is given, and one with references."""
    from webbalign.products.associations import read_association

    if len(inputs) != 1 or not inputs[0].lower().endswith(".json"):
        return False
    try:
        content = read_association(Path(inputs[0]), "an association (JSON)")
        members = content["products"][0]["members"]
        return any(str(member["exptype"]).lower() == "psf" for member in members)
    except (LookupError, TypeError):
        return True  # it says what is wrong with it


def status_text(found: Sequence[Finding], folder: Path = Path()) -> str:
    """Return the table: state, file (within the folder, if it lies there), and why."""
    if not found:
        return "no products"
    names = [
        str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
        for path in (item.path for item in found)
    ]
    width = max(map(len, names))
    lines = [
        f"{item.state.value:8} {name:{width}}  {'; '.join(item.reasons)}".rstrip()
        for name, item in zip(names, found, strict=True)
    ]
    counts = {item.state: 0 for item in found}
    for item in found:
        counts[item.state] += 1
    lines.append(", ".join(f"{count} {state.value}" for state, count in counts.items()))
    return "\n".join(lines)
