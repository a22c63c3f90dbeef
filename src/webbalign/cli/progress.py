"""The ways to show progress: bars on a terminal or in a notebook, lines elsewhere."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["BarProgress", "NotebookProgress", "PlainProgress", "progress_bar"]


def progress_bar() -> BarProgress | NotebookProgress | PlainProgress:
    """Return what shows progress where Python runs: a notebook, a terminal, or neither.

    Examples
    --------
    ``coron3.run("asn.json", output_dir="out", progress=progress_bar())``
    """
    if _is_notebook():
        return NotebookProgress()
    if sys.stderr.isatty():
        from rich.console import Console

        return BarProgress(Console(stderr=True))
    return PlainProgress(sys.stderr)


def _is_notebook() -> bool:
    """Tell whether a kernel of Jupyter runs us; IPython on a terminal has none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class PlainProgress:
    """One line when a step ends, and one every few seconds if it takes long.

    Parameters
    ----------
    stream : text stream
        Where the lines go.
    interval : float
        Seconds between the lines of a step.
    """

    def __init__(self, stream: TextIO, interval: float = 10.0) -> None:
        self._stream = stream
        self._interval = interval
        self._step: str | None = None
        self._total: int | None = None
        self._count = 0
        self._begun = self._said = 0.0

    def start(self, step: str, total: int | None = None) -> None:
        """Begin a step (the one before it ends)."""
        self.done()
        self._step, self._total, self._count = step, total, 0
        self._begun = self._said = time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Count `n` further units as finished."""
        self._count += n
        now = time.monotonic()
        if self._step is not None and now - self._said >= self._interval:
            self._said = now
            self._say("so far")

    def done(self) -> None:
        """End the current step."""
        if self._step is not None:
            self._say("done")
        self._step = None

    def _say(self, state: str) -> None:
        of = "" if self._total is None else f" of {self._total}"
        seconds = time.monotonic() - self._begun
        line = f"{self._step}: {self._count}{of} {state}, {seconds:.1f} s"
        if self._count and self._total is not None and self._count < self._total:
            left = seconds * (self._total - self._count) / self._count
            line += f" (about {left:.0f} s left)"
        print(line, file=self._stream, flush=True)


class BarProgress:
    """A bar for each step, drawn by rich; finished steps stay visible.

    Parameters
    ----------
    console : rich.console.Console
        The terminal, shared with the log messages so that they stand above the bars.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            "{task.description:<18}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._task: TaskID | None = None

    def start(self, step: str, total: int | None = None) -> None:
        """Begin a step (the one before it ends)."""
        self.done()
        self._bars.start()
        self._task = self._bars.add_task(step, total=total)

    def advance(self, n: int = 1) -> None:
        """Count `n` further units as finished."""
        if self._task is not None:
            self._bars.advance(self._task, n)

    def done(self) -> None:
        """End the current step; its bar stays as it is."""
        if self._task is not None:
            self._bars.stop_task(self._task)
        self._task = None

    def close(self) -> None:
        """Stop drawing."""
        self.done()
        self._bars.stop()


class NotebookProgress:
    """A bar for each step in a notebook (HTML; needs no widgets).

    Parameters
    ----------
    interval : float
        Least time in seconds between two drawings of a bar.
    """

    def __init__(self, interval: float = 0.2) -> None:
        self._interval = interval
        self._step: str | None = None
        self._total: int | None = None
        self._count = 0
        self._begun = self._drawn = 0.0
        self._handle: Any = None

    def start(self, step: str, total: int | None = None) -> None:
        """Begin a step (the one before it ends)."""
        from IPython.display import HTML, display

        self.done()
        self._step, self._total, self._count = step, total, 0
        self._begun = self._drawn = time.monotonic()
        self._handle = display(HTML(self._html()), display_id=True)

    def advance(self, n: int = 1) -> None:
        """Count `n` further units as finished."""
        self._count += n
        now = time.monotonic()
        if now - self._drawn >= self._interval:
            self._drawn = now
            self._draw()

    def done(self) -> None:
        """End the current step; its bar stays."""
        if self._step is not None:
            self._draw()
        self._step = None

    def close(self) -> None:
        """Stop drawing."""
        self.done()

    def _draw(self) -> None:
        from IPython.display import HTML

        if self._handle is not None:
            self._handle.update(HTML(self._html()))

    def _html(self) -> str:
        seconds = time.monotonic() - self._begun
        name = escape(self._step or "")
        if not self._total:
            return f"{name}: {self._count}, {seconds:.0f} s"
        text = f"{self._count} of {self._total}, {seconds:.0f} s"
        if 0 < self._count < self._total:
            text += f", about {seconds * (self._total - self._count) / self._count:.0f} s left"
        bar = f'<progress max="{self._total}" value="{self._count}" aria-label="{name}"></progress>'
        return f"{name} {bar} {text}"
