"""What goes wrong for a user: one clear line, the right exit status, nothing lost, nothing half."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from webbalign.cli import main

COMMANDS_ON_EXPOSURES = (
    "outlier-detection {0}", "stack-refs {0}", "align-refs {0} {0}", "klip {0} {0}",
    "resample {0}",
)  # fmt: skip
COMMANDS_ON_IMAGES = ("tweakreg {0}", "find-stars {0}")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def the_line(capsys):
    """The one line of an error, without its beginning."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "defect" not in line
    return line.removeprefix("webbalign: error: ")


def damaged(kind, whole, path):
    """Write a file that is damaged in some way; return what is said of it."""
    content = whole.read_bytes()
    parts = {
        "text": (b"no FITS file\n" * 20, "not readable as FITS"),
        "empty": (b"", "not readable as FITS"),
        "beginning": (content[:1000], "not readable as FITS"),
        "half": (content[: len(content) // 2], "cut short ("),
    }
    content, told = parts[kind]
    path.write_bytes(content)
    return told


@pytest.mark.parametrize("kind", ["text", "empty", "beginning", "half"])
@pytest.mark.parametrize("command", COMMANDS_ON_EXPOSURES)
def test_a_damaged_exposure(sequence, here, capsys, command, kind):
    whole = sequence.association.parent / sequence.science[0]
    told = damaged(kind, whole, here / "bad_calints.fits")
    assert main([*command.format("bad_calints.fits").split(), "--output-dir", "out"]) == 1
    line = the_line(capsys)
    assert line.startswith(told)
    assert " - bad_calints.fits - give " in line
    assert not list(here.glob("out/*"))


@pytest.mark.parametrize("kind", ["text", "empty", "beginning", "half"])
@pytest.mark.parametrize("command", COMMANDS_ON_IMAGES)
def test_a_damaged_image(mosaic, here, capsys, command, kind):
    whole = next(iter(mosaic.files.values()))[0]
    told = damaged(kind, whole, here / "bad_cal.fits")
    assert main([*command.format("bad_cal.fits").split(), "--output-dir", "out"]) == 1
    line = the_line(capsys)
    assert line.startswith(told)
    assert " - bad_cal.fits - give " in line
    assert not list(here.glob("out/*"))


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS_ON_EXPOSURES, *COMMANDS_ON_IMAGES, "coron3 {0}", "solve {0}",
        "apply-solution {0} {0}", "asn {0}", "wcs-adjust show {0}",
        "psfmask make --output out/m.fits --like {0}",
        "psfmask make --output out/m.fits --from-image {0}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "told"), [("no", "no such file"), ("folder", "a folder, not a file")]
)
def test_a_wrong_path_and_a_folder(here, capsys, command, name, told):
    (here / "folder").mkdir()
    assert main(command.format(name).split()) == 1
    assert the_line(capsys).startswith(f"{told} - {name} - give ")
    assert [path.name for path in here.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "command",
    [
        "coron3 in --output-dir {0}", "align-refs in in --output-dir {0}",
        "tweakreg in --output-dir {0}", "find-stars in --output-dir {0}",
        "solve in --output-dir {0}", "apply-solution in in --output-dir {0}",
        "simulate coron3 {0}", "simulate mosaic {0}",
    ],
)  # fmt: skip
def test_an_output_folder_that_cannot_be(here, capsys, monkeypatch, command):
    (here / "in").touch()
    (here / "file").write_text("mine")
    for name in ("file", "file/out"):
        assert main(command.format(name).split()) == 1
        assert the_line(capsys) == "a file, not a folder - file - give a folder for the products"
    # the superuser of a container may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert main(command.format("out").split()) == 1
    told = "no permission to write - . - give another folder for the products"
    assert the_line(capsys) == told
    assert (here / "file").read_text() == "mine"
    assert sorted(path.name for path in here.iterdir()) == ["file", "in"]


def test_an_output_file_that_cannot_be(sequence, here, capsys):
    folder = sequence.association.parent
    science, reference = str(folder / sequence.science[0]), str(folder / sequence.psf[0])
    (here / "folder").mkdir()
    (here / "file").touch()
    told = "a folder, not a file - folder - give the name of a file to write"
    for command in (["asn", science, reference], ["psfmask", "make", "--like", science]):
        assert main([*command, "--output", "folder"]) == 1
        assert the_line(capsys) == told
        assert main([*command, "--output", "file/x"]) == 1
        line = the_line(capsys)
        assert line.startswith("no writing into it (")
        assert line.endswith(") - file - give another folder for x")
    words = ["--output-dir", "out", "--save-parameters", "folder"]
    assert main(["coron3", str(sequence.association), *words]) == 1
    assert the_line(capsys) == told
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder"]


def test_bands_that_nobody_has_are_a_usage_error(here, capsys):
    assert main(["simulate", "mosaic", "out", "--bands", "F999M"]) == 2
    assert "'bands' is 'F999M'" in capsys.readouterr().err
    assert list(here.iterdir()) == []


# An input is never replaced -----------------------------------------------------------------------


@pytest.fixture
def products(sequence, here):
    """Products of coron3 in the current folder; return a way to tell whether they are whole."""
    assert main(["coron3", str(sequence.association), "--quiet", "--klip.truncate", "2"]) == 0

    def state():
        return {path.name: hashlib.md5(path.read_bytes()).digest() for path in here.glob("*.fits")}

    return state


def test_an_input_is_never_replaced(products, capsys, here):
    before = products()
    flagged = sorted(name for name in before if name.endswith("_crfints.fits"))
    (stack,) = (name for name in before if name.endswith("_psfstack.fits"))
    subtracted = sorted(name for name in before if name.endswith("_psfsub.fits"))
    (aligned, *_) = (name for name in before if name.endswith("_psfalign.fits"))
    linked = here / "linked"
    linked.symlink_to(here)
    assert main(["asn", *flagged, "--asn-id", "c1001", "--output", "x_asn.json"]) == 0
    capsys.readouterr()
    cases = [
        (["outlier-detection", flagged[0]], flagged[0]),
        (["outlier-detection", flagged[0], "--output-dir", "linked"], f"linked/{flagged[0]}"),
        (["stack-refs", stack], stack),
        (["klip", subtracted[0], aligned], subtracted[0]),
        (["coron3", "x_asn.json"], flagged[-1]),
        (["asn", *flagged, "--output", flagged[0]], flagged[0]),
        (["psfmask", "make", "--like", flagged[0], "--output", flagged[0]], flagged[0]),
    ]
    for words, name in cases:
        assert main([*words, "--quiet"]) == 1, words
        line = the_line(capsys)
        assert line.startswith("an input, which would be replaced - "), words
        assert line.endswith(".fits - give another folder or name"), words
        assert os.path.basename(name)[:8] in line
        assert products() == before
    assert not list(here.glob(".*"))
    assert main(["outlier-detection", flagged[0], "--output-dir", "other", "--quiet"]) == 0


# A full disk, an interruption ---------------------------------------------------------------------


@pytest.mark.parametrize("at", ["crfints", "psfstack", "psfalign", "psfsub", "i2d"])
def test_a_full_disk_leaves_only_whole_products(sequence, here, capsys, monkeypatch, at):
    from webbalign.products import atomic

    replace = os.replace

    def full(source, target):
        if str(target).endswith(f"_{at}.fits"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    words = ["--output-dir", "out", "--quiet", "--align-refs.align-to", "first"]
    assert main(["coron3", str(sequence.association), *words]) == 1
    line = the_line(capsys)
    assert line.startswith("No space left on device - out/")
    remedy = "make room, then run it again (with --resume, where there is one)"
    assert line.endswith(f"_{at}.fits - {remedy}")
    assert not list(here.glob(f"out/*_{at}.fits"))
    assert not list(here.glob("out/.*"))


# whoever runs the tests in the background of a shell hands on that interruptions are ignored
_HEEDING_INTERRUPTIONS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from webbalign.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_an_interruption(mosaic, here, executor):
    files = [str(path) for paths in mosaic.files.values() for path in paths]
    words = ["tweakreg", *files, "--output-dir", "out", "--executor", executor, "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", _HEEDING_INTERRUPTIONS, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    # the folder is made when the work begins
    while process.poll() is None and not (here / "out").is_dir():
        time.sleep(0.02)
    # a terminal sends it to all processes of the command
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    last = told.splitlines()[-1]
    assert last == "webbalign: error: interrupted; every product that was written is whole"
    assert "Traceback" not in told
    assert not list(here.glob("out/.*"))
