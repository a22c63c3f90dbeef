"""What a command is: its name, what it is for, its flags, and the function that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from webbalign.cli import common
from webbalign.cli.flags import Flag, flags_of
from webbalign.core.options import Options

__all__ = ["WHERE", "Command", "load_options", "terminal_flags"]

WHERE = "Where the work is done, and how it ends"
"""The heading of the options of execution."""


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes
    ----------
    name : str
        One or two words.
    summary : str
        One line.
    arguments : str
        The positionals as the usage line shows them.
    about : str
        A paragraph for the help.
    flags : callable
        Returns the flags.
    function : str
        ``module:function`` that runs it, given the command and what was parsed; it returns the
        exit status.
    count : tuple
        Least and largest number of positionals (None: any).
    examples : tuple of str
        Complete command lines.
    """

    name: str
    summary: str
    arguments: str
    about: str
    flags: Callable[[], list[Flag]]
    function: str
    count: tuple[int, int | None]
    examples: tuple[str, ...] = ()

    def all_flags(self) -> list[Flag]:
        """Return the flags, those that every command understands included."""
        return self.flags() + terminal_flags()

    def load(self) -> Callable[..., int]:
        """Import and return the function that runs the command."""
        module, _, name = self.function.partition(":")
        function: Callable[..., int] = getattr(import_module(module), name)
        return function


def terminal_flags() -> list[Flag]:
    """Return the flags that every command understands."""
    return flags_of(common.TerminalOptions, "What is said")


def load_options(path: str) -> type[Options]:
    """Import the options that ``module:class`` names."""
    module, _, name = path.partition(":")
    options: type[Options] = getattr(import_module(module), name)
    return options
