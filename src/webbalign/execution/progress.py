"""What a pipeline tells about its progress, and the listener that says nothing.

The pipelines know only this contract; whoever starts them decides what is shown
(the command line draws bars on a terminal, and prints plain lines elsewhere).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["NullProgress", "Progress"]


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of one step after another.

    For each step: one `start`, then `advance` as its units (integrations, exposures) are
    finished, then one `done`. The steps do not overlap.
    """

    def start(self, step: str, total: int | None = None) -> None:
        """Begin a step of `total` units (None: not known)."""

    def advance(self, n: int = 1) -> None:
        """Count `n` further units of the current step as finished."""

    def done(self) -> None:
        """End the current step; without a current step nothing happens."""


class NullProgress:
    """A listener that ignores everything."""

    def start(self, step: str, total: int | None = None) -> None:
        """Ignore the beginning of a step."""

    def advance(self, n: int = 1) -> None:
        """Ignore finished units."""

    def done(self) -> None:
        """Ignore the end of a step."""
