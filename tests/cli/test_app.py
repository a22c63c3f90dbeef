"""From the words of a command line to an exit status: errors are one line, never a traceback."""

from __future__ import annotations

import pytest

from webbalign.cli import main
from webbalign.cli.errors import ExitStatus
from webbalign.core.errors import InputError
from webbalign.execution import ExecutorError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("klipp a b", "unknown command 'klipp' - did you mean klip?"),
        ("align_refs a b", "unknown command 'align_refs' - did you mean align-refs?"),
        ("zzz", "unknown command 'zzz' - give one of coron3, "),
        ("psfmask", "'psfmask' is not the whole command - give one of make, check after it"),
        ("psfmask mak", "unknown command 'psfmask mak' - did you mean psfmask make?"),
        ("klip a.fits", "a.fits after webbalign klip - give SCIENCE PSFALIGN"),
        ("coron3", "nothing after webbalign coron3 - give ASSOCIATION..."),
        ("klip a b --truncat 3", "unknown option --truncat - did you mean --truncate?"),
        ("--quiett", "unknown option --quiett - did you mean --quiet?"),
        ("--quiet", "no command - give one"),
        ("coron3 a.json --truncate 3", "did you mean --klip.truncate?"),
        (
            "psfmask make --radius 3",
            "no file to write - webbalign psfmask make - give --output FILE",
        ),
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


def raising(error):
    def function(*_):
        raise error

    return function


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("klip a.fits", "klip --help"),
        ("psfmask mak", "psfmask --help"),
        ("simulate", "simulate --help"),
        ("wcs-adjust get x --zzz", "wcs-adjust get --help"),
        ("zzz", "webbalign --help"),
    ],
)
def test_the_nearest_help_is_named(words, hint, capsys):
    assert main(words.split()) == ExitStatus.USAGE
    assert capsys.readouterr().err.splitlines()[-1].endswith(f" {hint}")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            InputError("a.fits", "no such\nfile", "a cube"),
            1,
            "no such file - a.fits - give a cube",
        ),
        (ExecutorError("no dask"), 1, "no dask"),
        (
            FileNotFoundError(2, "No such file or directory", "x.asdf"),
            1,
            "No such file or directory - x.asdf - see that it and its folder exist",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "webbalign: error: No space left on device - make room, then run it again "
            "(with --resume, where there is one)\n",
        ),
        (
            OSError("'fix' returned error code 127"),
            1,
            "'fix' returned error code 127 - pre_hooks and post_hooks - give commands that succeed",
        ),
        (MemoryError(), 1, "not enough memory - give --memory, or fewer --workers"),
        (
            SystemExit("CRDS is not there"),
            1,
            "a library ended the program (CRDS is not there) - see --debug",
        ),
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
    probe(raising(InputError("a.fits", "empty", "a cube")))
    assert main(["asn", "a.fits", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    log = tmp_path / "run.log"
    assert main(["asn", "a.fits", "--log-file", str(log)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert "Traceback" in log.read_text()
    assert "empty - a.fits - give a cube" in log.read_text()


@pytest.mark.parametrize("command", ["coron3", "stack-refs", "outlier-detection"])
def test_a_missing_input_is_named(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command, "nowhere.json"]) == ExitStatus.ERROR
    told = "webbalign: error: no such file - nowhere.json - give a file that exists\n"
    assert capsys.readouterr().err == told
    assert list(tmp_path.iterdir()) == []
