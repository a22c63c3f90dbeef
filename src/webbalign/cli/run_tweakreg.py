"""The commands that align images by their stars: the whole, and its three parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_options, require_files
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import report
from webbalign.cli.run_steps import step_options
from webbalign.cli.running import EXECUTION, image_pool, not_aligned, written
from webbalign.cli.summaries import changed_since, snapshot
from webbalign.cli.terminal import Terminal
from webbalign.products.inputs import count_images
from webbalign.products.remote import local

__all__ = ["run_apply_solution", "run_find_stars", "run_solve", "run_tweakreg"]

_WORKERS_NEED = ("webbalign.steps._preloaded",)


def run_tweakreg(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Align images and print what became of each."""
    require_files(parsed.positionals)
    check_options(parsed, "tweakreg")
    with _pool(parsed, parsed.positionals) as pool:
        # what this process needs is imported beside what the workers need
        from webbalign.reports.alignment import alignment_text
        from webbalign.steps import TweakRegStep
        from webbalign.steps.solving import SOLUTION_FILE

        terminal.adopt_libraries()
        options = step_options(parsed)
        before = snapshot(options["output_dir"])
        source = parsed.positionals[0] if len(parsed.positionals) == 1 else parsed.positionals
        step = TweakRegStep.create(
            parsed.positionals[0],
            map=pool.map,
            memory=parsed.get("memory"),
            progress=terminal.progress(),
            overwrite=parsed.get("overwrite", default=True),
            resume=parsed.get("resume", default=False),
            **{**options, "save_results": True},
        )
        if parsed.get("save_parameters") is not None:
            step.export_config(parsed.get("save_parameters"))
        step.run(source)
    terminal.close()
    changed = {path.name for path in changed_since(before, options["output_dir"])}
    made = [path for path in step.written if path.name in changed]  # of --resume some are kept
    terminal.record(made, images=step.solution.notes)
    terminal.say(alignment_text(step.solution, made))
    tables = [path for path in step.written if path.name == SOLUTION_FILE]
    _report(parsed, terminal, tables[-1], [*map(str, step.written), *parsed.positionals])
    return _status(parsed, step.solution.images)


def run_find_stars(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write the catalogs of images."""
    require_files(parsed.positionals)
    check_options(parsed)
    from webbalign.steps.tweakreg_parts import find_stars

    terminal.adopt_libraries()
    progress = terminal.progress()
    progress.start("find stars", count_images(parsed.positionals))
    folder = parsed.get("output_dir", default=".")
    before = snapshot(folder)
    with _pool(parsed, parsed.positionals) as pool:
        found = find_stars(
            parsed.positionals,
            map=pool.map,
            advance=progress.advance,
            **written(parsed, without=EXECUTION),
        )
    terminal.close()
    terminal.record(changed_since(before, folder))
    catalogs = [stars.catalog for stars in found if stars.catalog is not None]

    def write() -> list[Path]:
        from webbalign.reports.star_page import StarProducts, report_stars

        return report_stars(StarProducts.of(catalogs, _places(parsed.positionals)))

    if catalogs:
        report(parsed, terminal, write)
    return ExitStatus.OK


def run_solve(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Solve catalogs and print what became of each image."""
    require_files(parsed.positionals)
    check_options(parsed)
    from webbalign.products.solved_stars import stars_file
    from webbalign.reports.alignment import alignment_text
    from webbalign.steps.solving import SOLUTION_FILE
    from webbalign.steps.tweakreg_parts import solve

    terminal.adopt_libraries()
    options = written(parsed, without=EXECUTION)
    progress = terminal.progress()
    progress.start("solve", 1)
    solution = solve(parsed.positionals, **options)
    progress.advance()
    terminal.close()
    table = Path(options.get("output_dir", ".")) / SOLUTION_FILE
    saved = [path for path in (stars_file(table), table) if path.is_file()]
    terminal.record(saved, images=solution.notes)
    terminal.say(alignment_text(solution, saved))
    _report(parsed, terminal, table, [])
    return _status(parsed, solution.images)


def run_apply_solution(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write images with the corrections of a solution."""
    require_files(parsed.positionals)
    check_options(parsed)
    from webbalign.steps.tweakreg_parts import apply_solution

    terminal.adopt_libraries()
    solution, *images = parsed.positionals
    source: Any = images[0] if len(images) == 1 else images
    progress = terminal.progress()
    progress.start("correct images", count_images(images))
    with _pool(parsed, images) as pool:
        done = apply_solution(
            solution,
            source,
            map=pool.map,
            advance=progress.advance,
            **written(parsed, without=EXECUTION),
        )
    terminal.close()
    without = sum(not corrected.by for corrected in done)
    terminal.record(
        [corrected.path for corrected in done],
        images=[{"file": item.path, "correction_of": item.by or None} for item in done],
    )
    terminal.say(f"{len(done)} images written, {without} without a correction")
    written_files = [str(corrected.path) for corrected in done]
    folder = parsed.get("output_dir", default=".")
    _report(parsed, terminal, Path(local(solution)), written_files, folder)
    return not_aligned(parsed) if without else ExitStatus.OK


def _report(
    parsed: Parsed, terminal: Terminal, table: Path, files: list[str], folder: str | None = None
) -> None:
    """Write the report of a solution; its images are among some files, or beside associations."""

    def write() -> list[Path]:
        from webbalign.products.alignment_products import alignment_products
        from webbalign.reports.alignment_page import report_alignment

        # by another name than that of a solution, which `report` makes
        name = None if folder is None else "apply_solution_report.html"
        return report_alignment(alignment_products(table, _places(files)), folder, name)

    report(parsed, terminal, write)


def _places(files: list[str]) -> list[Path]:
    """Return where images may lie: the files, and the folders of associations."""
    return [Path(name).parent if name.endswith(".json") else Path(name) for name in files]


def _pool(parsed: Parsed, files: list[str]) -> Any:
    return image_pool(parsed, count_images(files), _WORKERS_NEED)


def _status(parsed: Parsed, images: Any) -> int:
    aligned = all(image.step_status == "COMPLETE" for image in images)
    return ExitStatus.OK if aligned else not_aligned(parsed)
