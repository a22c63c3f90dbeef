"""What programs are told: the JSON of --json, alone on standard output; and exit statuses."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from webbalign.cli import main
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.summaries import changed_since, snapshot
from webbalign.core.errors import InputError

FIELDS = {
    "schema", "version", "command", "status", "error", "warnings", "seconds", "files", "reports",
    "result",
}  # fmt: skip


def summary(capsys):
    text = capsys.readouterr().out
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert set(found) == FIELDS
    assert found["schema"] == 1
    return found


def test_the_summary_is_alone_on_standard_output(probe, capsys):
    def work(command, parsed, terminal):
        terminal.say("a table for people")
        terminal.show("what was asked for")
        for _ in range(3):
            logging.getLogger("webbalign.x").warning("careful")
        logging.getLogger("stpipe").warning("not ours")
        terminal.record(["b.fits"], shift=np.array([0.5, np.nan]), n=np.int64(3))
        terminal.record(["a.fits"], rms=float("inf"))
        return 3

    probe(work)
    assert main(["asn", "x.fits", "--json"]) == 3
    found = summary(capsys)
    assert found["command"] == "asn"
    assert (found["status"], found["error"]) == (3, None)
    assert found["warnings"] == ["careful"]
    assert found["files"] == ["b.fits", "a.fits"]
    assert found["result"] == {"shift": [0.5, None], "n": 3, "rms": None}


def test_a_warning_is_said_once_and_logged_each_time(probe, capsys, tmp_path):
    def work(*_):
        for name in ("careful", "careful", "look out"):
            logging.getLogger("webbalign.x").warning(name)
        logging.getLogger("webbalign.x").info("an exposure")
        logging.getLogger("webbalign.x").info("an exposure")
        return 0

    probe(work)
    log = tmp_path / "x.log"
    assert main(["asn", "x.fits", "--log-file", str(log)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["WARNING: careful", "WARNING: look out", "an exposure", "an exposure"]
    assert log.read_text().count("careful") == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("a.fits", "is empty", "an image"), ExitStatus.ERROR),
        (ZeroDivisionError("oh"), ExitStatus.ERROR),
    ],
)
def test_an_error_is_told_on_both_ways(probe, capsys, error, status):
    def work(*_):
        raise error

    probe(work)
    assert main(["asn", "x.fits", "--json"]) == status
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["status"] == status
    assert captured.err == f"webbalign: error: {found['error']}\n"
    assert str(error) in found["error"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (0, 0),
        (InputError("a.fits", "is empty", "an image"), 1),
        (UsageError("no such word"), 2),
        (3, 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_statuses_are_those_of_the_documentation(probe, capsys, outcome, status):
    def work(*_):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    probe(work)
    assert main(["asn", "x.fits"]) == status
    assert ExitStatus(status) in ExitStatus


def test_nothing_is_printed_for_a_line_that_is_not_understood(capsys):
    assert main(["asn", "x.fits", "--json", "--nonsense"]) == 2
    assert capsys.readouterr().out == ""


def test_commands_name_their_products(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "--nints 3 --ref-nints 1 --ref-dithers 2 --shape 64,64 --wavelengths 1 --json"
    assert main(["simulate", "coron3", "sim", *words.split()]) == 0
    found = summary(capsys)
    made = {
        str(path.relative_to(tmp_path)) for path in (tmp_path / "sim").iterdir() if path.is_file()
    }
    assert set(found["files"]) == made
    science = next(name for name in found["files"] if "002001" in name)
    assert main(["outlier-detection", science, "--json", "--output-dir", "out"]) == 0
    product, picture = summary(capsys)["files"]
    assert product.endswith("_crfints.fits")
    assert picture == product.replace(".fits", ".png")
    assert (tmp_path / product).is_file()
    assert (tmp_path / picture).stat().st_size > 1000
    words = ["--json", "--output-dir", "plain", "--no-picture"]
    assert main(["outlier-detection", science, *words]) == 0
    assert len(summary(capsys)["files"]) == 1
    exposures = [name for name in found["files"] if name.endswith("_calints.fits")]
    assert main(["asn", *exposures, "--json"]) == 0
    assert summary(capsys)["result"]["association"]["products"][0]["members"]


def test_replaced_files_count_as_changed_and_kept_ones_do_not(tmp_path):
    for name in ("kept", "replaced"):
        (tmp_path / name).write_text("1")
    before = snapshot(tmp_path)
    (tmp_path / "new").write_text("2")
    (tmp_path / "new").replace(tmp_path / "replaced")
    (tmp_path / "made").touch()
    assert {path.name for path in changed_since(before, tmp_path)} == {"replaced", "made"}
    assert changed_since(snapshot(tmp_path), tmp_path) == []
