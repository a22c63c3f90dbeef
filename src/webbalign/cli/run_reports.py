"""The commands report and show."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_folder
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import pairs
from webbalign.cli.running import written
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import InputError

__all__ = ["run_report", "run_show"]

log = logging.getLogger(__name__)


def run_report(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write the report of every run that is found."""
    marks = pairs(parsed.get("mark") or ())
    folder = parsed.get("output_dir")
    if folder is not None:
        check_folder(Path(folder))
    terminal.adopt_libraries()
    how = {"star_flux": parsed.get("star_flux"), "marks": marks}
    images = parsed.get("images", default=())
    jobs = [job for source in parsed.positionals for job in _jobs(source, images, how)]
    progress = terminal.progress()
    progress.start("reports", len(jobs))
    pages = []
    for write in jobs:
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        page, *_ = write(folder)
        pages.append(page)
        progress.advance()
    progress.done()
    terminal.close()
    for page in pages:
        terminal.summary.reports.append(str(page))
        terminal.say(f"report: {page}")
    return ExitStatus.OK


def _jobs(
    source: str, images: Sequence[str], how: Mapping[str, Any]
) -> list[Callable[[str | None], list[Path]]]:
    """Return what writes each report of a folder or a file, told where it is to lie."""
    from webbalign.products.alignment_products import find_alignments
    from webbalign.products.coron_products import find_coron_products
    from webbalign.reports.adjust_page import find_adjustments, report_adjust
    from webbalign.reports.alignment_page import report_alignment
    from webbalign.reports.coron3_page import report_coron3
    from webbalign.reports.star_page import find_star_catalogs, report_stars

    if not Path(source).exists():
        raise InputError(source, "no such file or folder", "products, or a folder with products")
    found: list[Callable[[str | None], list[Path]]] = [
        *(partial(report_alignment, item) for item in find_alignments(source, images)),
        *(partial(report_adjust, item) for item in find_adjustments(source, images)),
        *(partial(report_stars, item) for item in find_star_catalogs(source, images)),
    ]
    try:
        found += [partial(report_coron3, item, **how) for item in find_coron_products(source)]
    except InputError as error:
        # a folder without one kind may have the other
        if not found and Path(source).is_dir() and not list(Path(source).glob("*_i2d.fits")):
            kinds = "no products of coron3, tweakreg, find-stars or wcs-adjust in it"
            raise InputError(source, kinds, "a folder with products") from None
        if not found:
            raise
        log.debug("%s", error)
    return found


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
    saved = save_product_picture(path, target, options)
    terminal.record([saved])
    terminal.say(f"saved {saved}")
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
