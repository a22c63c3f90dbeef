"""Resuming tweakreg: the solution and the corrected images are kept."""

import logging
import shutil

import pytest
from astropy.io import fits

from webbalign.steps import TweakRegStep
from webbalign.steps.solving import SOLUTION_FILE


@pytest.fixture
def images(mosaic, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return [str(shutil.copy(path, folder)) for path in mosaic.files["F300M"]]


@pytest.fixture
def align(images, tmp_path, caplog):
    def align(**options):
        caplog.clear()
        caplog.set_level(logging.INFO, "webbalign")
        TweakRegStep.call(
            images, output_dir=str(tmp_path / "out"), save_results=True, snr_threshold=20.0,
            **options,
        )  # fmt: skip
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    return align


def made(caplog):
    return {line.rpartition("/")[2] for line in caplog.messages if line.startswith("saved ")}


@pytest.mark.slow
def test_an_undisturbed_run_and_a_resumed_one(align, images, tmp_path, caplog):
    whole = align()
    assert align() == whole
    assert align(resume=True) == whole
    assert made(caplog) == set()
    lost = next((tmp_path / "out").glob("*_tweakreg.fits"))
    lost.unlink()
    assert align(resume=True) == whole
    assert made(caplog) == {lost.name}
    (tmp_path / "out" / SOLUTION_FILE).unlink()
    assert align(resume=True) == whole
    assert made(caplog) == {SOLUTION_FILE}
    # only the header is made differently
    align(resume=True, sip_approx=False)
    assert SOLUTION_FILE not in made(caplog)
    assert len(made(caplog)) == len(images)
    align(resume=True)
    with fits.open(images[0], mode="update") as hdulist:
        hdulist["SCI"].data[10, 10] += 1
    changed = align(resume=True)
    assert SOLUTION_FILE in made(caplog)
    assert changed == align()
