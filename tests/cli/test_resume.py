"""--resume and status, through the shell."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys

import pytest

from webbalign.cli import main

FIRST = ("--align-refs.align-to", "first", "--executor", "serial")


@pytest.fixture(scope="module")
def products(sequence, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    words = ["coron3", str(sequence.association), "--output-dir", str(folder), *FIRST]
    assert main([*words, "--quiet"]) == 0
    return folder


def status(capsys, *words):
    capsys.readouterr()
    return main(["status", *map(str, words)]), capsys.readouterr().out


def test_status_of_what_a_run_has_made(products, sequence, capsys):
    code, text = status(capsys, products, sequence.association, *FIRST[:2])
    assert code == 0
    assert text.splitlines()[-1] == "15 done"
    assert status(capsys, products)[0] == 0


def test_status_says_what_an_option_would_change(products, sequence, capsys):
    words = (products, sequence.association, *FIRST[:2], "--klip.truncate", "3")
    code, text = status(capsys, *words)
    assert code == 3
    stale = [line for line in text.splitlines() if line.startswith("stale")]
    assert [line.split()[1].rpartition("_")[2] for line in stale] == [
        "psfsub.fits", "psfsub.fits", "i2d.fits"
    ]  # fmt: skip
    assert stale[0].endswith("truncate 50, now 3")
    assert "is stale" in stale[-1]


def test_status_without_a_folder(tmp_path, capsys):
    assert main(["status", str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert status(capsys, tmp_path) == (0, "no products\n")


def test_resume_keeps_all(products, sequence, caplog):
    caplog.set_level(logging.INFO, "webbalign")
    words = ["coron3", str(sequence.association), "--output-dir", str(products), *FIRST]
    assert main([*words, "--resume", "--quiet", "--no-overwrite"]) == 0
    assert sum("unchanged" in line for line in caplog.messages) == 15
    assert not [line for line in caplog.messages if line.startswith("saved")]


def test_resume_of_single_steps(products, tmp_path, caplog):
    caplog.set_level(logging.INFO, "webbalign")
    crfints, psfsub = (next(products.glob(f"*_{name}.fits")) for name in ("crfints", "psfsub"))
    science = products / psfsub.name.replace("psfsub", "crfints")
    stack = next(products.glob("*_psfstack.fits"))
    steps = [
        ["outlier-detection", str(crfints)],
        ["stack-refs", *map(str, sorted(products.glob("*_crfints.fits"))[-2:])],
        ["align-refs", str(science), str(stack), "--align-to", "first"],
        ["klip", str(science), str(tmp_path / psfsub.name.replace("psfsub", "psfalign"))],
        ["resample", str(psfsub)],
    ]
    # its input would be replaced
    steps[0] += ["--suffix", "again"]
    for words in steps:
        for _ in range(2):
            caplog.clear()
            assert main([*words, "--output-dir", str(tmp_path), "--resume", "--quiet"]) == 0
        assert [line for line in caplog.messages if line.endswith("unchanged")]
        assert not [line for line in caplog.messages if line.startswith("saved")]
    caplog.clear()
    words = [*steps[3], "--truncate", "4", "--output-dir", str(tmp_path), "--resume", "--quiet"]
    assert main(words) == 0
    assert any("truncate 50, now 4" in line for line in caplog.messages)
    assert any(line.startswith("saved") for line in caplog.messages)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_broken_off_and_resumed(sequence, tmp_path, how):
    def run(folder, *more, until=None):
        command = [sys.executable, "-m", "webbalign", "coron3", str(sequence.association)]
        command += ["--output-dir", str(folder), "--workers", "2", "--quiet", *more]
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            process.wait(until)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, how)
            process.wait()
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")
        }

    import time

    start = time.perf_counter()
    whole = run(tmp_path / "whole")
    duration = time.perf_counter() - start
    chance = random.Random(int(how))
    for number in range(3):
        folder = tmp_path / str(number)
        run(folder, until=chance.uniform(0.3, 0.95) * duration)
        assert run(folder, "--resume") == whole
