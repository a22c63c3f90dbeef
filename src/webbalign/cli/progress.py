"""The two ways to show progress: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["BarProgress", "PlainProgress"]


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
