"""From the words of the command line to a command, and from its end to an exit status."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Sequence

from webbalign.cli import helptext
from webbalign.cli.commands import COMMANDS, Command, terminal_flags
from webbalign.cli.errors import ExitStatus, UsageError, explain
from webbalign.cli.parser import Parsed, first_positional, parse
from webbalign.cli.terminal import Terminal
from webbalign.core.options import did_you_mean
from webbalign.execution import spared_from_collection
from webbalign.products.addresses import masked_text

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process); return the exit status.

    Nothing that a user can cause ends in a traceback: errors are one line on standard error
    (``--debug`` adds the traceback).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # the last collection, of a process that is about to end, would search a million objects
    atexit.register(gc.freeze)
    try:
        with spared_from_collection(ending=True):
            return int(_dispatch(words))
    except UsageError as error:
        _say_error(str(error))
        print(f"Try: webbalign {_help_hint(words)}--help", file=sys.stderr)
        return ExitStatus.USAGE
    except BrokenPipeError:
        # whoever read our output has gone; what is left in the buffers must not be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.ERROR
    except KeyboardInterrupt:
        _say_error("interrupted; every product that was written is whole")
        return ExitStatus.INTERRUPTED
    except Exception as error:
        if "--debug" in words:
            sys.excepthook(type(error), error, error.__traceback__)
        _say_error(explain(error))
        return ExitStatus.ERROR


def _dispatch(words: list[str]) -> int:
    position = first_positional(words, terminal_flags())
    options = words if position is None else words[:position]
    if position is None:
        return _without_command(options)
    name, size = _command_name(words, position)
    rest = words[:position] + words[position + 1 :]
    if size == 2:
        second = position + (first_positional(rest[position:], terminal_flags()) or 0)
        rest.pop(second)
    elif size == 0:
        print(helptext.group_help(name), end="")
        return ExitStatus.OK
    command = COMMANDS[name]
    parsed = parse(rest, command.all_flags())
    if parsed.help:
        print(helptext.command_help(command), end="")
        return ExitStatus.OK
    _check_count(command, parsed)
    return _run(command, parsed)


def _without_command(options: list[str]) -> int:
    if "--version" in options:
        from webbalign import __version__

        print(f"webbalign {__version__}")
        return ExitStatus.OK
    if not options or "--help" in options or "-h" in options:
        print(helptext.general_help(), end="")
        return ExitStatus.OK
    parse(options, terminal_flags())  # names an unknown option
    raise UsageError("no command - give one")


def _command_name(words: list[str], position: int) -> tuple[str, int]:
    """Return the command that begins at `position` and the number of its words.

    Zero words: only the help of a group of commands is wanted.
    """
    first = words[position]
    if first in COMMANDS:
        return first, 1
    group = [name for name in COMMANDS if name.split()[0] == first]
    if not group:
        firsts = dict.fromkeys(name.split()[0] for name in COMMANDS)
        raise UsageError(f"unknown command {first!r}{_suggest(first, list(firsts))}")
    following = words[position + 1 :]
    index = first_positional(following, terminal_flags())
    if index is None:
        if "-h" in following or "--help" in following:
            return first, 0
        choices = ", ".join(name.split()[1] for name in group)
        raise UsageError(f"{first!r} is not the whole command - give one of {choices} after it")
    name = f"{first} {following[index]}"
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{_suggest(name, group)}")
    return name, 2


def _suggest(word: str, known: list[str]) -> str:
    found = did_you_mean(word.replace("_", "-"), known)
    return f" - did you mean {found[0]}?" if found else f" - give one of {', '.join(known)}"


def _check_count(command: Command, parsed: Parsed) -> None:
    least, largest = command.count
    found = len(parsed.positionals)
    if found < least or (largest is not None and found > largest):
        wanted = command.arguments or "no arguments"
        given = " ".join(parsed.positionals) or "nothing"
        raise UsageError(f"{given} after webbalign {command.name} - give {wanted}")


def _run(command: Command, parsed: Parsed) -> int:
    terminal = Terminal.start(
        quiet=parsed.get("quiet", default=False),
        verbose=parsed.get("verbose", default=False),
        debug=parsed.get("debug", default=False),
        json=parsed.get("json", default=False),
        log_file=parsed.get("log_file"),
    )
    with terminal:
        try:
            status = command.load()(command, parsed, terminal)
            _summarise(command, terminal, status)
            return status
        except (UsageError, BrokenPipeError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            # stpipe and crds end the process where others raise
            if isinstance(error, SystemExit) and not error.code:
                raise
            terminal.close()
            # goes to the log file, and with --debug to the terminal
            logger.debug("the error was raised here", exc_info=True)
            _say_error(explain(error))
            _summarise(command, terminal, ExitStatus.ERROR, _one_line(explain(error)))
            return ExitStatus.ERROR


def _summarise(command: Command, terminal: Terminal, status: int, error: str | None = None) -> None:
    """Print the summary for programs, if it is wanted."""
    if terminal.json:
        terminal.close()
        print(terminal.summary.text(command.name, status, error))


def _one_line(text: str) -> str:
    return masked_text(" ".join(text.split()))


def _say_error(text: str) -> None:
    print(f"webbalign: error: {_one_line(text)}", file=sys.stderr)


def _help_hint(words: list[str]) -> str:
    for size in (2, 1):
        name = " ".join([word for word in words if not word.startswith("-")][:size])
        if name in COMMANDS or name in {known.split()[0] for known in COMMANDS}:
            return f"{name} "
    return ""
