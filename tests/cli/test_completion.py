"""The completion scripts, in the shells themselves where they are installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from webbalign.cli import main
from webbalign.cli.commands import COMMANDS
from webbalign.cli.completion import SHELLS, completion_script


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def run(shell, text, *words):
    done = subprocess.run(
        [shell, *words, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def in_bash(script, line):
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    array = " ".join(map(shlex.quote, words))
    text = f'source {script}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _webbalign; printf "%s\\n" "${{COMPREPLY[@]}}"'  # noqa: E501
    return run("bash", text)


CASES = [
    ("webbalign co", {"coron3", "completion"}),
    ("webbalign wcs-adjust ", {"get", "apply", "show"}),
    ("webbalign wcs-adjust get --metho", {"--method"}),
    ("webbalign coron3 --klip.trunc", {"--klip.truncate"}),
    ("webbalign coron3 x.json --executor pr", {"processes"}),
]


@needs("bash")
@pytest.mark.parametrize("line, expected", CASES)
def test_bash_completes(tmp_path, line, expected):
    script = tmp_path / "webbalign"
    script.write_text(completion_script("bash"))
    assert set(in_bash(script, line)) == expected


@needs("bash")
def test_bash_completes_files_and_negations(tmp_path):
    script = tmp_path / "webbalign"
    script.write_text(completion_script("bash"))
    (tmp_path / "my asn.json").touch()
    assert in_bash(script, f"webbalign coron3 {tmp_path}/m") == [f"{tmp_path}/my asn.json"]
    assert set(in_bash(script, "webbalign coron3 --no-rep")) == {"--no-report"}


@needs("fish")
@pytest.mark.parametrize("line, expected", CASES)
def test_fish_completes(tmp_path, monkeypatch, line, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "webbalign.fish"
    script.write_text(completion_script("fish"))
    found = run("fish", f"source {script}; complete -C {shlex.quote(line)}", "--no-config")
    assert {row.split("\t")[0] for row in found} == expected


@needs("zsh")
def test_zsh_reads_its_script(tmp_path):
    script = tmp_path / "webbalign.zsh"
    script.write_text(completion_script("zsh"))
    text = f"autoload -U compinit && compinit -D -u; source {script}; echo $_comps[webbalign]"
    assert run("zsh", text, "-f") == ["_bash_complete -F _webbalign"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_the_script(shell, capsys):
    assert main(["completion", f"/bin/{shell}"]) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert all(word in text for word in name.split())
        for flag in command.flags():
            assert f"--{flag.name}" in text or f"-l {flag.name} " in text


def test_other_shells_are_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "no completion for 'tcsh' - give one of bash, zsh, fish" in capsys.readouterr().err
