"""What there is to look at when a command that makes products ends: a report, or pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from webbalign.cli.errors import UsageError, explain
from webbalign.cli.parser import Parsed
from webbalign.cli.terminal import Terminal

__all__ = ["pairs", "pictures", "report"]

logger = logging.getLogger(__name__)


def report(parsed: Parsed, terminal: Terminal, write: Callable[[], Sequence[Path]]) -> None:
    """Write a report, unless ``--no-report`` forbids it, and say where it lies.

    The products are whole by now: whatever goes wrong with the report is a warning.

    Parameters
    ----------
    parsed : Parsed
    terminal : Terminal
    write : callable
        Writes the report (and imports what this takes); returns its files, the page first.
    """
    if not parsed.get("report", default=True):
        return
    progress = terminal.progress()
    progress.start("report", 1)
    try:
        page, *figures = write()
        progress.advance()
    except Exception as error:
        logger.debug("the report failed", exc_info=True)
        logger.warning("the products are written, but not their report: %s", explain(error))
        return
    finally:
        terminal.close()
    terminal.summary.reports.append(str(page))
    if figures:
        terminal.say(f"its figures: {figures[0].parent}")
    terminal.say(f"report: {page}")


def pictures(parsed: Parsed, terminal: Terminal, products: Sequence[Path]) -> None:
    """Draw each product beside it, unless ``--no-picture`` forbids it, and say where.

    As of :func:`report`, whatever goes wrong is a warning.
    """
    if not parsed.get("picture", default=True):
        return
    from webbalign.reports.show import save_product_picture

    progress = terminal.progress()
    progress.start("pictures", len(products))
    drawn = []
    for path in products:
        try:
            drawn.append(save_product_picture(path, path.with_suffix(".png")))
        except Exception as error:
            logger.debug("the picture failed", exc_info=True)
            logger.warning("%s is written, but not its picture: %s", path, explain(error))
        progress.advance()
    terminal.close()
    terminal.record(drawn)
    for path in drawn:
        terminal.say(f"picture: {path}")


def pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return the sky positions of ``--mark`` as pairs of RA and Dec, degrees.

    Raises
    ------
    UsageError
        If one is half.
    """
    if len(values) % 2:
        given = ",".join(map(str, values))
        raise UsageError(f"--mark is {given} - give pairs of RA and Dec")
    return list(zip(values[::2], values[1::2], strict=True))
