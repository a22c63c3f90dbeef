"""The help, made from the commands and their flags.

Lines are wrapped to the width of the terminal; elsewhere each item is one line.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from itertools import groupby

from webbalign.cli.commands import COMMANDS, Command
from webbalign.cli.flags import Flag

__all__ = ["command_help", "general_help", "group_help", "usage"]

_COLUMN = 30


def general_help() -> str:
    """Return the help of the program."""
    rows = [(command.name, command.summary) for command in COMMANDS.values()]
    parts = [
        "Usage: webbalign COMMAND [ARGUMENTS] [OPTIONS]",
        "Align JWST exposures, subtract starlight from coronagraphic ones, and combine them.",
        _table("Commands", rows),
        _table(
            "Options",
            [
                ("-h, --help", "This help; after a command, the help of that command."),
                ("--version", "The version of the program."),
            ],
        ),
        "Exit status: 0 all well; 1 error; 2 usage; 3 products written, but some image was not "
        "aligned.",
    ]
    return _join(parts)


def group_help(group: str) -> str:
    """Return the help of a group of commands, such as ``psfmask``."""
    rows = [(c.name, c.summary) for c in COMMANDS.values() if c.name.split()[0] == group]
    return _join(
        [f"Usage: webbalign {group} COMMAND [ARGUMENTS] [OPTIONS]", _table("Commands", rows)]
    )


def usage(command: Command) -> str:
    """Return the usage line of a command."""
    return " ".join(
        filter(None, ("Usage: webbalign", command.name, command.arguments, "[OPTIONS]"))
    )


def command_help(command: Command) -> str:
    """Return the help of one command: usage, what it does, examples, every option."""
    parts = [usage(command), command.about]
    if command.examples:
        parts.append("\n".join(["Examples:", *(f"  {line}" for line in command.examples)]))
    for section, flags in _sections(command.all_flags()):
        parts.append(_table(section, [(flag.synopsis(), _describe(flag)) for flag in flags]))
    parts.append("Options may stand anywhere; those that take true or false also as --x, --no-x.")
    return _join(parts)


def _sections(flags: Iterable[Flag]) -> Iterable[tuple[str, list[Flag]]]:
    for section, members in groupby(flags, key=lambda flag: flag.section):
        yield section, list(members)


def _describe(flag: Flag) -> str:
    return f"{flag.option.doc} [{flag.facts()}]"


def _table(heading: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"{heading}:"]
    width = _width()
    for name, text in rows:
        left = f"  {name:<{_COLUMN - 4}}  "
        if width is None:
            lines.append(f"{left}{text}")
            continue
        body = textwrap.wrap(text, max(20, width - _COLUMN), break_on_hyphens=False)
        indent = " " * _COLUMN
        if len(left) > _COLUMN:
            lines.append(left.rstrip())
        else:
            lines.append(left + (body.pop(0) if body else ""))
        lines += [indent + line for line in body]
    return "\n".join(lines)


def _join(parts: list[str]) -> str:
    width = _width()
    if width is not None:
        parts = [
            part if "\n" in part else textwrap.fill(part, width, break_on_hyphens=False)
            for part in parts
        ]
    return "\n\n".join(parts) + "\n"


def _width() -> int | None:
    """Return the width of the terminal; None if standard output is none."""
    if not sys.stdout.isatty():
        return None
    return max(40, min(shutil.get_terminal_size().columns - 2, 110))
