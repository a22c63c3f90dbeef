from __future__ import annotations

import numpy as np
import pytest

from webbalign.simulate import CoronSimulation
from webbalign.simulate.detector import Detector
from webbalign.simulate.instruments import instrument_for

SCENE = np.linspace(0.0, 300.0, 6 * 100 * 120).reshape(6, 100, 120)


def expose(name="nircam", **options):
    instrument = instrument_for(name, (100, 120))
    chosen = CoronSimulation(instrument=name, **options)
    return instrument, Detector(instrument, chosen).expose(SCENE, 0)


def test_noise_has_the_error_that_the_file_claims():
    instrument, recorded = expose(bad_pixels=0, cosmic_rays=0)
    pull = (recorded.data - SCENE - instrument.background) / recorded.err
    # 72000 pixels: 0.3 % and 0.004
    assert pull.std() == pytest.approx(1.0, abs=0.012)
    assert pull.mean() == pytest.approx(0.0, abs=0.02)


def test_error_is_the_sum_of_its_parts_and_grows_with_the_light():
    _, recorded = expose(bad_pixels=0, cosmic_rays=0)
    total = recorded.poisson + recorded.read + recorded.flat
    np.testing.assert_allclose(recorded.err**2, total)
    assert recorded.err[-1].mean() > 2 * recorded.err[0].min()


def test_without_noise_the_scene_remains():
    _, recorded = expose(noise=False, bad_pixels=0, cosmic_rays=0, background=2.0)
    np.testing.assert_allclose(recorded.data, SCENE + 2.0)


def test_bad_pixels_are_flagged_and_stay():
    _, recorded = expose(bad_pixels=0.05, cosmic_rays=0)
    bad = (recorded.dq & 1) > 0
    assert bad.mean() == pytest.approx(0.05, abs=0.006)
    assert np.array_equal(bad[0], bad[-1])
    assert np.array_equal(np.isnan(recorded.data), np.isnan(recorded.err))
    assert np.all(bad[np.isnan(recorded.data)])
    assert 0 < np.isnan(recorded.data[0]).sum() < bad[0].sum()


def test_cosmic_rays_are_where_the_truth_says():
    _, hit = expose(cosmic_rays=2e-3, bad_pixels=0)
    clean = expose(cosmic_rays=0.0, bad_pixels=0)[1]
    rays = hit.cosmic_rays
    pixels = set(zip(rays.integration, rays.y, rays.x, strict=True))
    assert len(rays.flux) == pytest.approx(2e-3 * SCENE.size, rel=0.35)
    excess = hit.data - SCENE
    struck = np.array([excess[pixel] for pixel in pixels])
    assert np.median(struck) > 5 * np.median(clean.err)
    assert len(clean.cosmic_rays.flux) == 0


def test_nothing_is_measured_outside_miris_valid_region():
    instrument = instrument_for("miri")
    scene = np.ones((1, *instrument.shape))
    recorded = Detector(instrument, CoronSimulation(instrument="miri")).expose(scene, 0)
    outside = recorded.dq[0] == 513
    assert np.all(np.isnan(recorded.data[0][outside]))
    assert outside[:, :13].all()
    assert outside[:, 228:].all()
    assert outside[:7].all()
    assert outside[217:].all()
    assert not outside[7:217, 13:228].any()
