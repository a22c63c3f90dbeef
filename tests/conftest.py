"""What tests of several layers share: a small simulated sequence and the real exposures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from webbalign.simulate import CoronSequence, CoronSimulation, simulate_coron3

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


@pytest.fixture
def truth(sequence: CoronSequence) -> dict:
    """What is known about the NIRCam sequence."""
    return json.loads(sequence.truth.read_text())
