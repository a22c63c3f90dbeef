"""Write the tables of the documentation that follow from the declarations of the options.

Into ``docs/_generated``: one table per step and command (``options_<name>.md``), the list of the
commands (``commands.md``), what the profile ``jwst`` sets (``profile_jwst.md``), and the options of
other programs beside ours (``from_<program>_<name>.md``, with the remarks of ``peers.toml``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import webbalign.steps
from webbalign.cli import common
from webbalign.cli.commands import COMMANDS, STEPS, terminal_flags
from webbalign.cli.flags import Flag, flags_of
from webbalign.cli.helptext import usage
from webbalign.core.options import declared

FOLDER = Path(__file__).parent / "_generated"

PEERS = {"jwst": "jwst 3.0.0", "pjpipe": "PJPipe 1.3.0"}
# options of where and how a command works, which are told once for all
ELSEWHERE = [
    option.name
    for options in (common.ExecutionOptions, common.StepOutputOptions, common.StepHooks)
    for option in declared(options)
]

SHARED = {
    "hooks": common.StepHooks,
    "output": common.StepOutputOptions,
    "execution": common.ExecutionOptions,
}


def main() -> None:
    """Write all tables."""
    FOLDER.mkdir(exist_ok=True)
    for entry in STEPS.values():
        own = entry.own_flags()
        _write(f"options_{entry.name}", option_table(own) if own else "This step has no options.\n")
    for name, options in SHARED.items():
        _write(f"options_{name}", option_table(flags_of(options, "")))
    _write("options_terminal", option_table(terminal_flags()))
    for command in COMMANDS.values():
        flags = command.flags()
        if command.name.replace("-", "_") not in STEPS and command.name != "coron3" and flags:
            _write(f"options_{command.name.replace(' ', '_')}", option_table(flags))
    coron3 = [flag for flag in COMMANDS["coron3"].flags() if len(flag.target) == 1]
    _write("options_coron3", option_table(coron3))
    _write("commands", command_table())
    _write("profile_jwst", profile_table())
    peers = tomllib.loads((Path(__file__).parent / "peers.toml").read_text())
    for peer, steps in peers.items():
        for name, options in steps.items():
            own = (
                COMMANDS[name.replace("_", " ")].flags() if "-" in name else STEPS[name].own_flags()
            )
            _write(f"from_{peer}_{name}", peer_table(own, options, PEERS[peer]))


def option_table(flags: Iterable[Flag]) -> str:
    """Return a table of options: flag, default, allowed values, meaning."""
    rows = [
        (
            f"`--{flag.name}`",
            f"`{flag.default_text()}`",
            _escape(flag.option.allowed) or flag.type_text(),
            _escape(flag.option.doc),
        )
        for flag in flags
    ]
    return _table(("option", "default", "values", "meaning"), rows)


def command_table() -> str:
    """Return the table of the commands."""
    rows = [
        (
            f"`{usage(command).removeprefix('Usage: ')}`".replace("|", "\\|"),
            _escape(command.summary),
        )
        for command in COMMANDS.values()
    ]
    return _table(("command", "what it does"), rows)


def profile_table() -> str:
    """Return the table of what the profile jwst sets, beside our own defaults."""
    rows = []
    for entry in STEPS.values():
        step = getattr(webbalign.steps, entry.class_name)
        flags = {flag.target[-1]: flag for flag in entry.own_flags()}
        for name, value in step.profiles.get("jwst", {}).items():
            flag = flags[name]
            rows.append(
                (
                    f"`{entry.name}`",
                    f"`{name}`",
                    f"`{flag.default_text()}`",
                    f"`{flag.text(value)}`",
                    _escape(flag.option.doc),
                )
            )
    return _table(("step", "option", "default", "profile jwst", "meaning"), rows)


def peer_table(flags: Iterable[Flag], options: dict[str, list[str]], peer: str) -> str:
    """Return a table of another program's options with ours, and of ours that it has not."""
    ours = {flag.target[-1]: flag for flag in flags}
    rows = [
        (
            ", ".join(f"`{part}`" for part in name.split(", ")),
            f"`{default}`" if default else "",
            f"`{ours[name].default_text()}`" if name in ours else "-",
            remark or "the same",
        )
        for name, (default, remark) in options.items()
    ]
    rows += [
        (f"`{name}`", "-", f"`{flag.default_text()}`", _escape(flag.option.doc))
        for name, flag in ours.items()
        if name not in options and name not in ELSEWHERE
    ]
    return _table(("option", peer, "webbalign", "what differs, and why"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escape(text: str) -> str:
    for character in "\\|<>*":
        text = text.replace(character, f"\\{character}")
    return text


def _write(name: str, text: str) -> None:
    path = FOLDER / f"{name}.md"
    # an unchanged file keeps its date, so that sphinx does not read it again
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    main()
