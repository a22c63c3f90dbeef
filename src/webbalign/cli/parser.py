"""Reading a command line: flags anywhere among the positionals, no guessing.

``argparse`` is not used because it lets an optional value swallow the positional that follows
(``--skip file.json``), takes ``-5.2,3`` for an option, and refuses options between positionals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from webbalign.cli.errors import UsageError
from webbalign.cli.flags import Flag
from webbalign.core.errors import OptionError
from webbalign.core.options import did_you_mean

__all__ = ["Parsed", "first_positional", "parse"]

_BOOLEANS = ("true", "false")


@dataclass
class Parsed:
    """What the user wrote, and nothing else: defaults are applied where the options live.

    Attributes
    ----------
    positionals : list of str
        The words that are no flags.
    values : dict
        Value by the flag's target, e.g. ``{("klip", "truncate"): 20}``.
    help : bool
        Whether help was asked for.
    """

    positionals: list[str] = field(default_factory=list)
    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    help: bool = False

    def get(self, *target: str, default: Any = None) -> Any:
        """Return the value of a flag, or `default` if the user did not write it."""
        return self.values.get(target, default)


def parse(words: Sequence[str], flags: Iterable[Flag]) -> Parsed:
    """Sort the words of a command line into positionals and checked values.

    A boolean takes the next word only if that is exactly ``true`` or ``false``. A word after
    ``--`` is a positional whatever it looks like. Of a repeated flag the last one counts, except
    for lists, which gather.

    Raises
    ------
    UsageError
        If a flag is unknown, or has no value, or one that is not allowed.
    """
    table = {flag.name: flag for flag in flags}
    parsed = Parsed()
    written: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            parsed.positionals += rest
            break
        if word in ("-h", "--help"):
            parsed.help = True
        elif word.startswith("-") and word != "-":
            flag, text = _read_flag(word, rest, table)
            written.setdefault(flag.name, []).append(text)
        else:
            parsed.positionals.append(word)
    if not parsed.help:
        for name, texts in written.items():
            try:
                parsed.values[table[name].target] = table[name].value(texts)
            except OptionError as error:
                raise UsageError(str(error)) from None
    return parsed


def _read_flag(word: str, rest: list[str], table: dict[str, Flag]) -> tuple[Flag, str]:
    """Find the flag of `word` and its text, which may be the first of `rest` (then removed)."""
    name, equals, text = word[2:].partition("=") if word.startswith("--") else (word, "", "")
    flag = table.get(name)
    if flag is None and name.startswith("no-"):
        flag = table.get(name[3:])
        if flag is not None and flag.is_boolean:
            if equals:
                raise UsageError(f"--{name} is given a value - leave it out")
            return flag, "false"
        flag = None
    if flag is None:
        raise UsageError(f"unknown option {word.partition('=')[0]}{_suggest(name, table)}")
    if equals:
        return flag, text
    if flag.is_boolean:
        return flag, rest.pop(0) if rest and rest[0] in _BOOLEANS else "true"
    if not rest or rest[0].startswith("--"):
        raise UsageError(f"--{name} has no value - give {flag.metavar}")
    return flag, rest.pop(0)


def _suggest(name: str, table: dict[str, Flag]) -> str:
    known = [*table, *(f"no-{flag.name}" for flag in table.values() if flag.is_boolean), "help"]
    bare = name.lstrip("-").replace("_", "-").removeprefix("steps.")
    found = did_you_mean(bare, known)
    if not found:
        # an option of a step, written without the step
        found = [known_name for known_name in known if known_name.endswith(f".{bare}")][:3]
    return f" - did you mean {' or '.join(f'--{item}' for item in found)}?" if found else ""


def first_positional(words: Sequence[str], flags: Iterable[Flag]) -> int | None:
    """Return the index of the first word that is neither a flag nor the value of one.

    Flags that are not among `flags` are taken to have no value.
    """
    valued = {f"--{flag.name}" for flag in flags if not flag.is_boolean}
    booleans = {f"--{flag.name}" for flag in flags if flag.is_boolean}
    index = 0
    while index < len(words):
        word = words[index]
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in valued or (word in booleans and following in _BOOLEANS):
            index += 2
        elif word.startswith("-"):
            index += 1
        else:
            return index
    return None
