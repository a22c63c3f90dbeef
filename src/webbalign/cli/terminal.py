"""What the user sees while a command runs: log messages and progress.

On a terminal both are drawn by rich; elsewhere they are plain lines, never wrapped or coloured.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from webbalign.cli.summaries import Summary
from webbalign.execution import NullProgress, Progress
from webbalign.products.addresses import masked_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Terminal"]

_FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Terminal:
    """Logging and progress of one command; a context manager that puts back what it changed.

    Attributes
    ----------
    quiet : bool
        Whether only errors are said.
    console : rich.console.Console or None
        None when standard error is not a terminal.
    json : bool
        Whether standard output is for the summary alone.
    summary : Summary
        What the command tells programs.
    """

    def __init__(self, *, quiet: bool, console: Console | None, json: bool = False) -> None:
        self.quiet = quiet
        self.console = console
        self.json = json
        self.summary = Summary()
        self._progress = ExitStack()
        self._logging = ExitStack()

    @classmethod
    def start(
        cls,
        *,
        quiet: bool = False,
        verbose: bool = False,
        debug: bool = False,
        json: bool = False,
        log_file: str | None,
    ) -> Self:
        """Set up logging to standard error and, if wanted, to a file.

        By default our own messages from INFO on are shown, others from ERROR on: libraries warn
        of much that concerns no user. `verbose` shows all from INFO on.
        """
        console = None
        if sys.stderr.isatty() and not quiet:
            from rich.console import Console

            console = Console(stderr=True, highlight=False, markup=False)
        terminal = cls(quiet=quiet, console=console, json=json)
        shown = _stream_handler(console)
        shown.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)
        if not (verbose or debug):
            shown.addFilter(_ours_or_error)
            shown.addFilter(_Once())
        terminal._install(shown)
        terminal._install(_Gatherer(terminal.summary.warnings))
        if log_file is not None:
            written = logging.FileHandler(log_file, mode="w", encoding="utf-8")
            written.setFormatter(_MaskingFormatter(_FILE_FORMAT))
            terminal._install(written)
        return terminal

    def progress(self) -> Progress:
        """Return the listener that shows the progress of the pipeline's steps."""
        if self.quiet:
            return NullProgress()
        if self.console is None:
            from webbalign.cli.progress import PlainProgress

            return PlainProgress(sys.stderr)
        from webbalign.cli.progress import BarProgress

        bars = BarProgress(self.console)
        self._progress.callback(bars.close)
        return bars

    def adopt_libraries(self) -> None:
        """Take from libraries the handlers with which they write to standard error themselves.

        To be called when they are imported; their messages then pass through ours only.
        """
        for name in ("astropy", "CRDS"):
            logger = logging.Logger.manager.loggerDict.get(name)
            if not isinstance(logger, logging.Logger):
                continue
            for handler in list(logger.handlers):
                if isinstance(handler, logging.StreamHandler):
                    logger.removeHandler(handler)
                    self._logging.callback(logger.addHandler, handler)

    def say(self, text: str) -> None:
        """Print a result on standard output."""
        if not self.quiet:
            self.show(text)

    def show(self, text: str) -> None:
        """Print what the command is for; ``--quiet`` does not keep it back."""
        if not self.json:
            print(text)

    def record(self, files: Iterable[str | Path] = (), **result: Any) -> None:
        """Add products and results to what programs are told (``--json``)."""
        self.summary.record(files, **result)

    def close(self) -> None:
        """End the progress display and flush the log, so that what follows stands below them."""
        with suppress(ValueError):
            sys.stdout.flush()
        self._progress.close()

    def _install(self, handler: logging.Handler) -> None:
        root = logging.getLogger()
        ours = logging.getLogger("webbalign")
        before = root.level, ours.level
        root.addHandler(handler)
        # others' DEBUG messages are slow to make and tell our users nothing
        root.setLevel(logging.INFO)
        ours.setLevel(logging.DEBUG)
        logging.captureWarnings(True)

        def undo() -> None:
            root.removeHandler(handler)
            handler.close()
            root.setLevel(before[0])
            ours.setLevel(before[1])
            logging.captureWarnings(False)

        self._logging.callback(undo)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._logging.close()


def _stream_handler(console: Console | None) -> logging.Handler:
    handler: logging.Handler
    if console is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        handler = RichHandler(
            console=console,
            show_time=False,
            show_level=False,
            show_path=False,
            highlighter=NullHighlighter(),
        )
    handler.setFormatter(_PlainFormatter())
    return handler


class _MaskingFormatter(logging.Formatter):
    """Nothing that gives access to a file elsewhere (see `masked_text`) reaches a log."""

    def format(self, record: logging.LogRecord) -> str:
        return masked_text(super().format(record))


class _PlainFormatter(_MaskingFormatter):
    """The message alone; its level before it if it is more than information."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname}: {text}"


class _Once:
    """A filter that lets each warning pass once; the log file has them all."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        is_new = text not in self._said
        self._said.add(text)
        return is_new


class _Gatherer(logging.Handler):
    """Keeps our warnings, each once."""

    def __init__(self, warnings: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._warnings = warnings
        self.addFilter(_ours_or_error)
        self.addFilter(_Once())

    def emit(self, record: logging.LogRecord) -> None:
        self._warnings.append(masked_text(record.getMessage()))


def _ours_or_error(record: Any) -> bool:
    ours = record.name == "webbalign" or record.name.startswith("webbalign.")
    return ours or record.levelno >= logging.ERROR
