"""The help: at once, complete, made from the declarations."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from webbalign.cli import main
from webbalign.cli.commands import COMMANDS, CORON3_STEPS


def run_program(*words, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "webbalign", *words], capture_output=True, text=True, **kwargs
    )


@pytest.mark.parametrize("words", ["--help", "--version", "-h", ""])
def test_help_and_version_answer_at_once(words):
    seconds = []
    for _ in range(3):
        begun = time.monotonic()
        result = run_program(*words.split())
        seconds.append(time.monotonic() - begun)
        assert result.returncode == 0, result.stderr
    assert min(seconds) < 0.5


def test_help_imports_no_library():
    script = (
        "import sys, webbalign.cli; webbalign.cli.main(['--help']);"
        "print([m for m in ('numpy', 'astropy', 'scipy', 'stpipe', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_no_slow_library(name):
    heavy = ("astropy", "stpipe", "stdatamodels", "gwcs", "crds", "poppy", "matplotlib", "drizzle")
    script = (
        f"import sys, webbalign.cli; webbalign.cli.main({[*name.split(), '--help']!r});"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_general_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS.values():
        assert f"  {command.name} " in text
        assert command.summary in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_holds_every_declaration(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    command = COMMANDS[name]
    assert command.about in text
    for flag in command.all_flags():
        (line,) = [row for row in text.splitlines() if row.startswith(f"  {flag.synopsis()}  ")]
        assert flag.option.doc in line
        assert flag.facts() in line
        assert all(str(choice) in line for choice in flag.option.choices or ())


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_is_declared_twice(name):
    names = [flag.name for flag in COMMANDS[name].all_flags()]
    assert len(names) == len(set(names))
    assert "help" not in names


def test_the_pipeline_has_every_option_of_its_steps():
    names = {flag.name for flag in COMMANDS["coron3"].all_flags()}
    for entry in CORON3_STEPS.values():
        for flag in entry.flags(within_pipeline=False):
            assert f"{entry.command}.{flag.name}" in names
    assert {"klip.truncate", "align-refs.align-to", "align-refs.override-psfmask"} <= names
    assert {f"{entry.command}.skip" for entry in CORON3_STEPS.values()} <= names


def test_help_is_not_wrapped_outside_a_terminal(monkeypatch):
    result = run_program("coron3", "--help", env={**os.environ, "COLUMNS": "40"})
    assert max(map(len, result.stdout.splitlines())) > 100
    assert "\x1b" not in result.stdout


def run_on_terminal(*words, columns=60):
    """Run the program on a pseudo-terminal of that width; return its output and status."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "webbalign", *words],
        stdout=follower, stderr=follower, stdin=follower, env=environment,
    )  # fmt: skip
    os.close(follower)
    output = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not block:
            break
        output += block
    os.close(leader)
    return output.decode(), process.wait()


def test_help_is_wrapped_to_the_terminal():
    text, status = run_on_terminal("klip", "--help")
    assert status == 0
    # an example stays on one line, to be copied
    lines = [line for line in text.splitlines() if not line.startswith("  webbalign ")]
    assert max(map(len, lines)) <= 60


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m webbalign coron3 --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stdout == "Usage: webbalign coron3 ASSOCIATION... [OPTIONS]\n"
    assert result.stderr == ""
