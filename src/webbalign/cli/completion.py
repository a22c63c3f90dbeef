"""Completion of commands, options and their values in bash, zsh and fish.

The script that a shell reads holds the words itself, made from the declared options: completing
starts no Python.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from webbalign.cli.commands import COMMANDS, Command, terminal_flags
from webbalign.cli.errors import UsageError
from webbalign.cli.flags import Flag
from webbalign.cli.parser import Parsed
from webbalign.cli.terminal import Terminal

__all__ = ["SHELLS", "completion_script", "run_completion"]


def run_completion(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Print the script of a shell."""
    (shell,) = parsed.positionals
    text = completion_script(Path(shell).name)
    terminal.record(script=text)
    terminal.show(text.rstrip())
    return 0


def completion_script(shell: str) -> str:
    """Return what a shell has to read (``source``) to complete our command lines.

    Raises
    ------
    UsageError
        If we know nothing of that shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r} - give one of {', '.join(SHELLS)}")
    return SHELLS[shell]()


def _words(flags: Iterable[Flag]) -> Iterator[str]:
    for flag in flags:
        yield f"--{flag.name}"
        if flag.is_boolean:
            yield f"--no-{flag.name}"
    yield "--help"


def _choices(command: Command) -> dict[str, tuple[str, ...]]:
    """Return the values that the options of a command may have, where they can be listed."""
    return {
        f"--{flag.name}": tuple(map(str, flag.option.choices))
        for flag in command.all_flags()
        if flag.option.choices is not None
    }


def _first_words() -> dict[str, str]:
    """Return the first words of all commands, and what they are for."""
    words: dict[str, str] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        words.setdefault(first, f"{first}: one of several commands" if second else command.summary)
    return words


def _second_words(first: str) -> dict[str, str]:
    return {
        name.partition(" ")[2]: command.summary
        for name, command in COMMANDS.items()
        if name.startswith(f"{first} ")
    }


# bash, and zsh by its emulation of bash's completion ----------------------------------------------

_BASH = """\
# completion of webbalign for bash; source it, or put it where bash-completion looks
_webbalign() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local command="" word words="" values="" index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${COMP_WORDS[index]}"
    case "$word" in -*) continue ;; esac
    case "$command" in
      "") command="$word" ;;
      %(groups)s) command="$command $word"; break ;;
      *) break ;;
    esac
  done
  COMPREPLY=()
  case "$command" in
    "") words=%(first)s ;;
%(commands)s
  esac
  if [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ "$current" == -* || -z "$command" ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    case "$command" in
      %(groups)s) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
      *)
        compopt -o filenames 2>/dev/null
        # line by line: names may have blanks
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
        ;;
    esac
  fi
}
complete -F _webbalign webbalign
"""

_ZSH = """\
#compdef webbalign
# completion of webbalign for zsh; source it after compinit
autoload -U +X bashcompinit && bashcompinit
"""


def _bash() -> str:
    groups = [word for word in _first_words() if _second_words(word)]
    first = " ".join([*_first_words(), "--help", "--version"])
    return _BASH % {
        "groups": "|".join(groups),
        "first": shlex.quote(first),
        "commands": "\n".join(_bash_cases(groups)),
    }


def _bash_cases(groups: Iterable[str]) -> Iterator[str]:
    for group in groups:
        yield f'    "{group}") words={shlex.quote(" ".join(_second_words(group)))} ;;'
    for name, command in COMMANDS.items():
        yield f'    "{name}")'
        yield f"      words={shlex.quote(' '.join(_words(command.all_flags())))}"
        choices = _choices(command)
        if choices:
            yield '      case "$previous" in'
            for flag, values in choices.items():
                yield f"        {flag}) values={shlex.quote(' '.join(values))} ;;"
            yield "      esac"
        yield "      ;;"


def _zsh() -> str:
    return _ZSH + _bash()


# fish ---------------------------------------------------------------------------------------------


def _fish() -> str:
    return "\n".join(_fish_lines()) + "\n"


def _fish_lines() -> Iterator[str]:
    yield "# completion of webbalign for fish, to be put into ~/.config/fish/completions"
    begin = "complete -c webbalign"
    for word, text in _first_words().items():
        yield f"{begin} -f -n __fish_use_subcommand -a {word} -d {_quoted(text)}"
        seconds = _second_words(word)
        none_yet = " ".join(["__fish_seen_subcommand_from", word, "; and not",
                             "__fish_seen_subcommand_from", *seconds])  # fmt: skip
        for second, summary in seconds.items():
            yield f"{begin} -f -n {_quoted(none_yet)} -a {second} -d {_quoted(summary)}"
    for flag in terminal_flags():
        yield _fish_flag(begin, flag)
    shared = {flag.name for flag in terminal_flags()}
    for name, command in COMMANDS.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        for flag in command.all_flags():
            if flag.name not in shared:
                yield _fish_flag(f"{begin} -n {_quoted(seen)}", flag)


def _fish_flag(begin: str, flag: Flag) -> str:
    line = f"{begin} -l {flag.name} -d {_quoted(flag.option.doc)}"
    if flag.is_boolean:
        return line
    if flag.option.choices is not None:
        return f"{line} -x -a {_quoted(' '.join(map(str, flag.option.choices)))}"
    return f"{line} -r"


def _quoted(text: str) -> str:
    """Return text as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""What makes the script of each shell."""
