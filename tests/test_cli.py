"""The command line: reading it, its help, its errors and exit statuses."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.cli import main
from webbalign.cli.commands import COMMANDS, CORON3_STEPS, terminal_flags
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.flags import flags_of
from webbalign.cli.parser import first_positional, parse
from webbalign.core.errors import InputError
from webbalign.core.options import Options, opt
from webbalign.execution import ExecutorError


@dataclass(frozen=True)
class Sample(Options):
    """One option of every kind."""

    save_all: bool = opt(False, "Save everything.")
    clean: bool = opt(True, "Clean up.")
    box_length: int = opt(3, "Length of the box in pixels.", min=1)
    scale: float | None = opt(None, "Scale in arcsec.")
    kind: str = opt("each", "Which kind.", choices=("each", "first"))
    shape: tuple[int, ...] | None = opt(None, "Size x, y in pixels.", length=2)
    crval: tuple[float, ...] | None = opt(None, "Position in degrees.", length=2)
    names: tuple[str, ...] = opt((), "Some names.")
    pre_hooks: tuple[str, ...] = opt((), "Hooks.")


FLAGS = [*flags_of(Sample, "Sample"), *flags_of(Sample, "Step", step="align_refs")]


def values(*words):
    return {".".join(target): value for target, value in parse(words, FLAGS).values.items()}


# Reading the command line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--save-all", {"save_all": True}),
        ("--no-save-all", {"save_all": False}),
        ("--save-all=false", {"save_all": False}),
        ("--save-all true", {"save_all": True}),
        ("--clean false", {"clean": False}),
        ("--no-clean", {"clean": False}),
        ("--box-length 5", {"box_length": 5}),
        ("--box-length=5", {"box_length": 5}),
        ("--box-length 5 --box-length 7", {"box_length": 7}),
        ("--scale -0.5", {"scale": -0.5}),
        ("--scale none", {"scale": None}),
        ("--scale 1e-3", {"scale": 0.001}),
        ("--kind first", {"kind": "first"}),
        ("--shape 300,200", {"shape": (300, 200)}),
        ("--shape 300 --shape 200", {"shape": (300, 200)}),
        ("--shape None", {"shape": None}),
        ("--crval -5.2,3", {"crval": (-5.2, 3.0)}),
        ("--crval=-5.2,-3", {"crval": (-5.2, -3.0)}),
        ("--names a --names b,c", {"names": ("a", "b", "c")}),
        ("--pre-hooks f(a=1,b=2) --pre-hooks g", {"pre_hooks": ("f(a=1,b=2)", "g")}),
        ("--align-refs.kind first", {"align_refs.kind": "first"}),
        ("--no-align-refs.clean", {"align_refs.clean": False}),
        ("--align-refs.save-all", {"align_refs.save_all": True}),
        ("", {}),
    ],
)
def test_values(words, expected):
    assert values(*words.split()) == expected


def test_options_stand_anywhere_among_the_positionals():
    parsed = parse(["a.fits", "--save-all", "b.fits", "--box-length", "5", "c.fits"], FLAGS)
    assert parsed.positionals == ["a.fits", "b.fits", "c.fits"]
    assert parsed.values == {("save_all",): True, ("box_length",): 5}


@pytest.mark.parametrize("word", ["TRUE", "True", "yes", "0", "truth", "x.fits", "false.fits"])
def test_a_boolean_takes_only_true_or_false(word):
    parsed = parse(["--save-all", word], FLAGS)
    assert parsed.positionals == [word]
    assert parsed.values == {("save_all",): True}


def test_a_negated_boolean_takes_no_word():
    assert parse(["--no-save-all", "true"], FLAGS).positionals == ["true"]


def test_after_two_dashes_all_are_positionals():
    assert parse(["--", "--save-all", "-x"], FLAGS).positionals == ["--save-all", "-x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bx-length 3", "unknown option --bx-length; did you mean --box-length?"),
        ("--box_length 3", "did you mean --box-length?"),
        ("--align_refs.kind first", "did you mean --align-refs.kind?"),
        ("--steps.align_refs.kind=first", "did you mean --align-refs.kind?"),
        ("--no-save-al", "did you mean --no-save-all?"),
        ("--zzzz", "unknown option --zzzz"),
        ("-x", "unknown option -x"),
        ("--no-box-length", "unknown option --no-box-length"),
        ("--no-save-all=true", "--no-save-all takes no value"),
        ("--box-length", "--box-length needs a value (INT)"),
        ("--box-length --save-all", "--box-length needs a value (INT)"),
        ("--box-length 0", "--box-length is 0; expected an integer (>= 1)"),
        ("--box-length 2.5", "--box-length is '2.5'; expected an integer"),
        ("--align-refs.kind mean", "--align-refs.kind is 'mean'; expected each | first"),
        ("--shape 3", "--shape is"),
        ("--save-all=maybe", "--save-all is 'maybe'; expected true or false"),
        ("--scale nonsense", "--scale is 'nonsense'; expected a number"),
    ],
)
def test_what_cannot_be_understood_is_named(words, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(words.split(), FLAGS)


@given(
    st.lists(st.sampled_from(["--save-all", "--no-clean", "--box-length=4"]), max_size=3),
    st.lists(st.sampled_from(["a.fits", "b.json", "c"]), max_size=4),
    st.randoms(),
)
def test_the_order_of_options_and_positionals_does_not_matter(options, positionals, random):
    words = [*options, *positionals]
    places = sorted(random.sample(range(len(words)), len(positionals)))
    mixed = list(options)
    for place, word in zip(places, positionals, strict=True):
        mixed.insert(place, word)
    assert parse(mixed, FLAGS) == parse(words, FLAGS)


def test_the_first_positional_is_not_the_value_of_an_option():
    flags = terminal_flags()
    assert first_positional(["--log-file", "klip", "coron3"], flags) == 2
    assert first_positional(["--quiet", "coron3"], flags) == 1
    assert first_positional(["--quiet", "true", "coron3"], flags) == 2
    assert first_positional(["--quiet"], flags) is None


# Help ---------------------------------------------------------------------------------------------


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


# Commands, errors, statuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("klipp a b", "unknown command 'klipp'; did you mean klip?"),
        ("align_refs a b", "unknown command 'align_refs'; did you mean align-refs?"),
        ("zzz", "there are: coron3"),
        ("psfmask", "'psfmask' needs one of: make, check"),
        ("psfmask mak", "unknown command 'psfmask mak'; did you mean psfmask make?"),
        ("klip a.fits", "webbalign klip takes SCIENCE PSFALIGN; given: a.fits"),
        ("coron3", "webbalign coron3 takes ASSOCIATION; given: nothing"),
        ("coron3 a.json b.json", "takes ASSOCIATION; given: a.json b.json"),
        ("klip a b --truncat 3", "unknown option --truncat; did you mean --truncate?"),
        ("--quiett", "unknown option --quiett; did you mean --quiet?"),
        ("--quiet", "no command given"),
        ("coron3 a.json --truncate 3", "did you mean --klip.truncate?"),
        ("psfmask make --radius 3", "needs --output FILE"),
    ],
)
def test_usage_errors_have_status_2(words, message, capsys):
    assert main(words.split()) == ExitStatus.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first.startswith("webbalign: error: ")
    assert message in first
    assert second.startswith("Try: webbalign ")
    assert second.endswith("--help")


@pytest.fixture
def probe(monkeypatch):
    """Replace the function of the command asn; return a way to set what it does."""

    def install(function):
        command = replace(COMMANDS["asn"])
        object.__setattr__(command, "load", lambda: function)
        monkeypatch.setitem(COMMANDS, "asn", command)

    return install


def raising(error):
    def function(*_):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            InputError("a.fits", "no such\nfile", "a cube"),
            1,
            "a.fits: no such file; expected a cube",
        ),
        (ExecutorError("no dask"), 1, "no dask"),
        (FileNotFoundError(2, "No such file or directory", "x.asdf"), 1, "x.asdf: No such file"),
        (MemoryError(), 1, "not enough memory"),
        (SystemExit("CRDS is not there"), 1, "CRDS is not there"),
        (KeyError("shape"), 1, "unexpected KeyError: 'shape' - this is a defect of webbalign"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line(probe, capsys, error, status, message):
    probe(raising(error))
    assert main(["asn", "a.fits"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("webbalign: error: ")
    assert message in captured.err


def test_debug_shows_the_traceback_and_the_log_file_always_does(probe, capsys, tmp_path):
    probe(raising(InputError("a.fits", "empty")))
    assert main(["asn", "a.fits", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    log = tmp_path / "run.log"
    assert main(["asn", "a.fits", "--log-file", str(log)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert "Traceback" in log.read_text()
    assert "a.fits: empty" in log.read_text()


def talk(*_):
    logging.getLogger("webbalign.steps.klip").info("ours")
    logging.getLogger("webbalign.steps.klip").debug("ours for developers")
    logging.getLogger("webbalign.steps.klip").warning("careful")
    logging.getLogger("stpipe").info("theirs")
    logging.getLogger("stpipe").warning("their warning")
    logging.getLogger("stpipe").error("their error")
    return 0


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("", ["ours", "WARNING: careful", "ERROR: their error"]),
        ("--quiet", ["ERROR: their error"]),
        (
            "--verbose",
            ["ours", "WARNING: careful", "theirs", "WARNING: their warning", "ERROR: their error"],
        ),
        (
            "--debug",
            ["ours", "ours for developers", "WARNING: careful", "theirs", "WARNING: their warning",
             "ERROR: their error"],
        ),
    ],
)  # fmt: skip
def test_what_is_said(probe, capsys, option, expected):
    probe(talk)
    before = list(logging.getLogger().handlers), logging.getLogger("webbalign").level
    assert main(["asn", "a.fits", *option.split()]) == 0
    assert capsys.readouterr().err.splitlines() == expected
    assert (logging.getLogger().handlers, logging.getLogger("webbalign").level) == before


def show_progress(command, parsed, terminal):
    progress = terminal.progress()
    progress.start("align_refs", 40)
    progress.advance(30)
    progress.advance(10)
    progress.done()
    progress.start("klip")
    progress.advance()
    progress.start("resample", 2)
    terminal.say("the result")
    return 0


def test_progress_outside_a_terminal_is_plain_lines(probe, capsys):
    probe(show_progress)
    assert main(["asn", "a.fits"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "the result\n"
    pattern = r"align_refs: 40 of 40 done, \d+\.\d s\nklip: 1 done, \d+\.\d s\n"
    assert re.fullmatch(pattern, captured.err)
    assert "\x1b" not in captured.err


def test_quiet_says_nothing(probe, capsys):
    probe(show_progress)
    assert main(["asn", "a.fits", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_long_step_tells_of_itself(capsys):
    from webbalign.cli.progress import PlainProgress

    progress = PlainProgress(sys.stderr, interval=0.0)
    progress.start("align_refs", 3)
    progress.advance()
    progress.advance(2)
    progress.done()
    progress.done()
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(",")[0] for line in lines] == [
        "align_refs: 1 of 3 so far", "align_refs: 3 of 3 so far", "align_refs: 3 of 3 done",
    ]  # fmt: skip


def test_bars_on_a_terminal_and_messages_above_them():
    import io

    from rich.console import Console

    from webbalign.cli.progress import BarProgress

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    bars = BarProgress(console)
    bars.start("align_refs", 40)
    bars.advance(40)
    bars.start("klip", 40)
    bars.advance(10)
    bars.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "align_refs" in text
    assert "40/40" in text
    assert "10/40" in text


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m webbalign coron3 --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stdout == "Usage: webbalign coron3 ASSOCIATION [OPTIONS]\n"
    assert result.stderr == ""


# Real runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["coron3", "stack-refs", "outlier-detection"])
def test_a_missing_input_is_named(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command, "nowhere.json"]) == ExitStatus.ERROR
    assert capsys.readouterr().err == "webbalign: error: nowhere.json: no such file\n"
    assert list(tmp_path.iterdir()) == []
