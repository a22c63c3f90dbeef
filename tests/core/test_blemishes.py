"""What is taken for the lost core of a saturated star."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from tests.core.starfield import star_field
from webbalign.core.sources import SourceFinding, find_sources

FWHM = 1.6


def dead(kind, shape):
    bad = np.zeros(shape, bool)
    if kind == "mask of a coronagraph":
        bad[:120, :90] = True
    elif kind == "border":
        bad[:4] = bad[-4:] = True
        bad[:, :4] = bad[:, -4:] = True
    else:
        bad[149:151, 20:260] = True
    return bad


@pytest.mark.parametrize("kind", ["mask of a coronagraph", "border", "rows"])
@pytest.mark.parametrize("flagged", [True, False])
def test_dead_regions_amid_nebulosity_are_no_stars(kind, flagged):
    field = star_field(60, (300, 280), FWHM, flux=(1e3, 3e4), seed=4)
    # bright, and too narrow for the sky to follow it
    bad = dead(kind, field.data.shape)
    glow = 30 * field.err.mean() * np.exp(-distance_transform_edt(~bad) / 4.0)
    data = np.where(bad, np.nan, field.data + glow)
    saturated = np.zeros(bad.shape, bool) if flagged else None
    options = SourceFinding(snr_threshold=5.0)
    found = find_sources(data, field.err, bad, saturated, fwhm=FWHM, options=options)
    bright = field.flux > np.median(field.flux)
    edges = np.pad(~bad, 12, constant_values=False)
    clear = np.array([
        edges[round(b) + 4 : round(b) + 21, round(a) + 4 : round(a) + 21].all()
        for a, b in zip(field.x, field.y, strict=True)
    ])  # fmt: skip
    away = np.hypot(field.x[:, None] - found.xcentroid, field.y[:, None] - found.ycentroid).min(
        axis=1
    )
    assert np.mean(away[bright & clear] < 0.5) > 0.9
