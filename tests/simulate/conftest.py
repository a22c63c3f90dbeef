from __future__ import annotations

import pytest

from webbalign.simulate import CoronSimulation, mosaic_psfs, simulate_coron3

SMALL = {"nints": 3, "ref_nints": 2, "ref_dithers": 2, "shape": (72, 64), "wavelengths": 1}


@pytest.fixture(scope="session", params=["nircam", "miri"])
def sequence(request, tmp_path_factory):
    options = CoronSimulation(instrument=request.param, **SMALL)
    return simulate_coron3(tmp_path_factory.mktemp(request.param), options)


@pytest.fixture
def small_optics(monkeypatch):
    """PSFs of a coarsely drawn telescope in small stamps, which are made in a moment."""
    values = {"PUPIL_PIXELS": 128, "RADIUS": 40, "_STAMPS": (6, 13, 40)}
    for name, value in values.items():
        monkeypatch.setattr(mosaic_psfs, name, value)
