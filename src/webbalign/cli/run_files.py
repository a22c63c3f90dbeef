"""The commands that make or check files: asn, psfmask, simulate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_folder
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.cli.running import written
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import OptionError
from webbalign.core.options import Options

__all__ = [
    "run_asn",
    "run_psfmask_check",
    "run_psfmask_make",
    "run_simulate",
    "run_simulate_mosaic",
]


def run_asn(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write (or print) the association of the files."""
    import json

    from webbalign.products.associations import make_association

    terminal.adopt_libraries()
    options = written(parsed, without=("output",))
    output = parsed.get("output")
    folder = None if output is None else Path(output).parent
    association = make_association(parsed.positionals, folder=folder, **options)
    text = json.dumps(association, indent=2)
    if output is None:
        terminal.record(association=association)
        terminal.show(text)
        return ExitStatus.OK
    from webbalign.products.atomic import atomic_path, refuse_input

    refuse_input(output, parsed.positionals)
    with atomic_path(output) as temporary:
        temporary.write_text(f"{text}\n")
    terminal.record([output], association=association)
    roles = [member["exptype"] for member in association["products"][0]["members"]]
    terminal.say(f"{output}: {roles.count('science')} science, {roles.count('psf')} psf members")
    return ExitStatus.OK


def run_simulate(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write a simulated sequence."""
    from webbalign.simulate import CoronSimulation, simulate_coron3

    result = _simulate(simulate_coron3, CoronSimulation, parsed, terminal)
    folder = result.association.parent
    exposures = [folder / name for name in (*result.science, *result.psf)]
    terminal.record([result.association, *exposures, result.truth])
    terminal.say(
        f"{result.association}: {len(result.science)} science, {len(result.psf)} psf members"
    )
    terminal.say(f"{result.truth}: what was put in")
    return ExitStatus.OK


def run_simulate_mosaic(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write a simulated mosaic."""
    from webbalign.simulate import MosaicSimulation, simulate_mosaic

    result = _simulate(simulate_mosaic, MosaicSimulation, parsed, terminal)
    images = [path for files in result.files.values() for path in files]
    terminal.record([result.association, *images, result.truth, result.gaia, result.stars])
    counts = ", ".join(f"{len(files)} of {band}" for band, files in result.files.items())
    terminal.say(f"{result.association}: {counts}")
    terminal.say(f"{result.truth}: the true corrections")
    terminal.say(f"{result.gaia}: a catalog like Gaia's; {result.stars}: all stars")
    return ExitStatus.OK


def _simulate(
    function: Callable[..., Any], declaration: type[Options], parsed: Parsed, terminal: Terminal
) -> Any:
    """Run a simulation that writes into the folder that the user named."""
    (folder,) = parsed.positionals
    check_folder(Path(folder))
    terminal.adopt_libraries()
    try:
        options = declaration.from_mapping(written(parsed))
        return function(folder, options, progress=_counter(terminal))
    except OptionError as error:
        raise UsageError(str(error)) from None
    finally:
        terminal.close()


def _counter(terminal: Terminal) -> Callable[[int, int, str], None]:
    """Return what shows the progress of a simulation, called as (done, total, text)."""
    progress = terminal.progress()
    counted = 0

    def count(done: int, total: int, text: str) -> None:
        nonlocal counted
        if counted == 0:
            progress.start("simulate", total)
        progress.advance(done - counted)
        counted = done
        if done == total:
            progress.done()

    return count


def run_psfmask_make(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write a PSFMASK file."""
    if parsed.get("output") is None:
        raise UsageError("no file to write - webbalign psfmask make - give --output FILE")
    from webbalign.products.references import make_psfmask

    terminal.adopt_libraries()
    make_psfmask(**written(parsed))
    terminal.record([parsed.get("output")])
    terminal.say(parsed.get("output"))
    return ExitStatus.OK


def run_psfmask_check(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Say what is wrong with PSFMASK files; the status tells whether anything is."""
    from webbalign.products.references import check_psfmask

    terminal.adopt_libraries()
    status = ExitStatus.OK
    found = {}
    for name in parsed.positionals:
        problems = found[name] = list(check_psfmask(name))
        for problem in problems:
            terminal.show(f"{name}: {problem}")
        if problems:
            status = ExitStatus.ERROR
        else:
            terminal.say(f"{name}: a valid PSFMASK")
    terminal.record(problems=found)
    return status
