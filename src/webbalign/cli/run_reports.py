"""The commands report and show."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_folder
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import pairs
from webbalign.cli.running import written
from webbalign.cli.terminal import Terminal

__all__ = ["run_report", "run_show"]


def run_report(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write the report of every run that is found."""
    marks = pairs(parsed.get("mark") or ())
    folder = parsed.get("output_dir")
    if folder is not None:
        check_folder(Path(folder))
    from webbalign.products.coron_products import find_coron_products
    from webbalign.reports.coron3_page import report_coron3

    terminal.adopt_libraries()
    found = [run for source in parsed.positionals for run in find_coron_products(source)]
    progress = terminal.progress()
    progress.start("reports", len(found))
    pages = []
    for run in found:
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        page, *_ = report_coron3(run, folder, star_flux=parsed.get("star_flux"), marks=marks)
        pages.append(page)
        progress.advance()
    progress.done()
    terminal.close()
    for page in pages:
        terminal.say(f"report: {page}")
    return ExitStatus.OK


def run_show(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Draw a product into a file, or a window."""
    from webbalign.reports.show import Picture, save_product_picture

    terminal.adopt_libraries()
    (path,) = parsed.positionals
    options = Picture(**written(parsed, without=("save",)))
    target = parsed.get("save")
    if target is None and _has_display():
        _open_window(path, options)
        return ExitStatus.OK
    if target is None:
        target = f"{Path(path).name.removesuffix('.gz').removesuffix('.fits')}.png"
    terminal.say(f"saved {save_product_picture(path, target, options)}")
    return ExitStatus.OK


def _has_display() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window(path: str, options: Any) -> None:
    """Show a picture in a window until it is closed."""
    from matplotlib import pyplot

    from webbalign.reports.show import draw_product

    draw_product(path, options, pyplot.figure(layout="constrained"))
    pyplot.show()
