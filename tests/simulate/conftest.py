from __future__ import annotations

import pytest

from webbalign.simulate import CoronSimulation, simulate_coron3

SMALL = {"nints": 3, "ref_nints": 2, "ref_dithers": 2, "shape": (72, 64), "wavelengths": 1}


@pytest.fixture(scope="session", params=["nircam", "miri"])
def sequence(request, tmp_path_factory):
    options = CoronSimulation(instrument=request.param, **SMALL)
    return simulate_coron3(tmp_path_factory.mktemp(request.param), options)
