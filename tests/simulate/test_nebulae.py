from __future__ import annotations

import numpy as np
import pytest

from webbalign.simulate.cameras import BANDS
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.mosaic_plan import plan_mosaic
from webbalign.simulate.nebulae import Nebula

OUTLINE = np.array([[-0.006, -0.006], [0.006, 0.006]])


def emission(band="F770W", **options):
    chosen = MosaicSimulation(bands=(band,), visits=1, dithers=1, size=150, **options)
    (frame,) = plan_mosaic(chosen)
    nebula = Nebula(chosen, OUTLINE, (chosen.ra, chosen.dec))
    return nebula, nebula.image(frame)


def test_it_is_never_negative_and_as_bright_as_asked_for():
    _, faint = emission(nebulosity=1.0)
    _, bright = emission(nebulosity=8.0)
    assert faint.min() > 0
    np.testing.assert_allclose(bright, 8 * faint, rtol=1e-9)
    # the rms is that of the whole field
    assert 0.1 < faint.std() < 2


def test_only_miri_has_it_by_default():
    nebula, _ = emission()
    assert nebula.amplitude(BANDS["F770W"]) > 0
    assert nebula.amplitude(BANDS["F300M"]) == 0


def test_bands_show_the_same_clouds_more_or_less_sharply():
    _, sharp = emission("F770W", nebulosity=4.0)
    _, smooth = emission("F2100W", nebulosity=4.0)
    assert np.corrcoef(sharp.ravel(), smooth.ravel())[0, 1] > 0.98
    roughness = [np.std(np.diff(image, 2, axis=1)) for image in (sharp, smooth)]
    assert roughness[1] < 0.5 * roughness[0]


def test_the_seed_makes_another_cloud():
    (_, one), (_, other) = emission(seed=1), emission(seed=2)
    assert np.abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.9
    assert one.mean() != pytest.approx(other.mean(), rel=1e-6)
