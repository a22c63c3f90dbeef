"""What the user sees while a command runs: messages and progress."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from webbalign.cli import main


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


def test_time_left_is_told(capsys):
    import io

    from rich.console import Console

    from webbalign.cli.progress import BarProgress, PlainProgress

    progress = PlainProgress(sys.stderr, interval=0.0)
    progress.start("klip", 4)
    progress.advance()
    progress.advance(3)
    first, last = capsys.readouterr().err.splitlines()
    assert re.search(r"klip: 1 of 4 so far, \d+\.\d s \(about \d+ s left\)$", first)
    assert "left" not in last
    stream = io.StringIO()
    bars = BarProgress(Console(file=stream, force_terminal=True, width=90))
    bars.start("klip", 4)
    bars.advance()
    bars.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"1/4 0:00:00 (-:--:--|0:00:\d\d)", text)


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_honoured_on_a_terminal(no_color, monkeypatch):
    import os
    import pty
    import subprocess

    code = (
        "import logging, sys; from webbalign.cli.terminal import Terminal\n"
        "with Terminal.start(log_file=None) as terminal:\n"
        "    p = terminal.progress(); p.start('klip', 2); p.advance(2); p.done()\n"
    )
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    if no_color:
        environment["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as stream:
        command = [sys.executable, "-W", "ignore", "-c", code]
        subprocess.run(command, stderr=theirs, env=environment, check=True, timeout=60)
        os.close(theirs)
        said = b""
        try:
            while part := stream.read(65536):
                said += part
        except OSError:  # the other end is closed
            pass
    assert b"klip" in said
    # colours are 30-37, 90-97 and 38; bold and dim are none
    colours = re.findall(rb"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m", said)
    assert bool(colours) != no_color
