"""The benchmarks as one command: nothing that is missing or breaks off stops the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not installed"
)


def run(code, tmp_path, **settings):
    results = tmp_path / "RESULTS.md"
    environment = {**os.environ, "WEBBALIGN_BENCH_RESULTS": str(results), **settings}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done, results.read_text() if results.is_file() else ""


def test_every_script_that_measures_is_run():
    from benchmarks.run_all import SCRIPTS

    folder = ROOT / "benchmarks"
    writing = {path.stem for path in folder.glob("*.py") if "report.write(" in path.read_text()}
    assert writing == set(SCRIPTS)


def test_a_script_that_breaks_off_is_told_and_the_others_go_on(tmp_path):
    code = (
        "from benchmarks import run_all\n"
        "run_all.SCRIPTS = ('none_such', 'report')\n"
        "from benchmarks.report import Report\n"
        "report = Report(1, 'none_such', 'What was')\n"
        "report.below('x', 1.0, 2.0)\n"
        "report.write()\n"
        "raise SystemExit(run_all.main())"
    )
    done, text = run(code, tmp_path)
    assert done.returncode == 1
    assert "broken off: none_such" in done.stdout
    assert "\nreport\n" in done.stdout
    assert text.count("**This script broke off**") == 1
    assert "| x | 1 | <= 2 | met |" in text


@pytest.mark.parametrize("content", [None, "#!/bin/sh\nexit 1\n"])
def test_a_jwst_that_is_missing_or_does_not_run_is_none(tmp_path, content):
    python = tmp_path / "python"
    if content is not None:
        python.write_text(content)
        python.chmod(0o755)
    code = "from benchmarks import common; print(common.have_jwst(), repr(common.jwst_version()))"
    done, _ = run(code, tmp_path, WEBBALIGN_JWST_PYTHON=str(python))
    assert done.stdout.splitlines()[-1] == "False ''"
