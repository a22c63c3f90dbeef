"""What tests of several layers share: a small simulated sequence and the real exposures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

from webbalign.simulate import (
    CoronSequence,
    CoronSimulation,
    Mosaic,
    MosaicSimulation,
    simulate_coron3,
    simulate_mosaic,
)

# `make test` tries the same examples on every machine; `make test-all` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real exposures."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data: {REAL_DATA} does not exist")
    return REAL_DATA


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> CoronSequence:
    """A small NIRCam sequence: 2 x 4 science and 5 x 3 reference integrations of 80 x 80 pixels."""
    options = CoronSimulation(nints=4, ref_nints=3, ref_dithers=5, shape=(80, 80), wavelengths=1)
    return simulate_coron3(tmp_path_factory.mktemp("nircam"), options)


@pytest.fixture(scope="session")
def miri_sequence(tmp_path_factory: pytest.TempPathFactory) -> CoronSequence:
    """A small MIRI sequence whose files have no VAR arrays."""
    options = CoronSimulation(
        instrument="miri", nints=3, ref_nints=2, ref_dithers=3, shape=(64, 64), wavelengths=1,
        variances="missing",
    )  # fmt: skip
    return simulate_coron3(tmp_path_factory.mktemp("miri"), options)


@pytest.fixture(scope="session")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Mosaic:
    """A small NIRCam mosaic in F300M: 2 visits of 2 dithers, 300 x 300 pixels."""
    options = MosaicSimulation(bands=("F300M",), dithers=2, size=300)
    return simulate_mosaic(tmp_path_factory.mktemp("mosaic"), options)


@pytest.fixture
def truth(sequence: CoronSequence) -> dict:
    """What is known about the NIRCam sequence."""
    return json.loads(sequence.truth.read_text())
