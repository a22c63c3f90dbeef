import numpy as np
import pytest
from astropy.io import fits

from webbalign.products import models
from webbalign.steps import OutlierDetectionStep


def test_cosmic_rays_are_found_and_marked(science):
    rng = np.random.default_rng(3)
    places = rng.choice(16 * 74, 100, replace=False)  # far from the star, no pixel twice
    spots = (rng.integers(0, 4, 100), 3 + places // 74, 3 + places % 74)
    good = (science.dq[spots] == 0) & np.isfinite(science.err[spots])
    science.data[spots] += 30 * np.nan_to_num(science.err[spots])
    flagged = OutlierDetectionStep.call(science, configure_log=False)
    found = flagged.dq[spots] & 17 == 17
    assert found[good].mean() > 0.95
    assert np.isnan(flagged.data[spots][found]).all()
    assert np.isnan(flagged.err[spots][found]).all()
    assert np.isnan(flagged.var_rnoise[spots][found]).all()
    assert flagged.meta.cal_step.outlier_detection == "COMPLETE"


def test_two_integrations_are_left_alone_and_it_is_said(science, caplog):
    for name in ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat"):
        setattr(science, name, getattr(science, name)[:2])
    before = science.dq.copy()
    flagged = OutlierDetectionStep.call(science, configure_log=False)
    np.testing.assert_array_equal(flagged.dq, before)
    assert flagged.meta.cal_step.outlier_detection == "SKIPPED"
    assert "no outliers flagged" in caplog.text


def test_median_on_request(folder, sequence, tmp_path):
    OutlierDetectionStep.call(
        str(folder / sequence.science[0]), output_dir=str(tmp_path), save_results=True,
        save_intermediate_results=True, configure_log=False,
    )  # fmt: skip
    names = {path.name.rpartition("_")[2] for path in tmp_path.glob("*.fits")}
    assert names == {"crfints.fits", "median.fits"}
    (median,) = tmp_path.glob("*_median.fits")
    with fits.open(median) as hdulist:
        assert hdulist["SCI"].data.shape == (80, 80)


def test_good_bits_are_honoured(science):
    science.dq[0, 5, 5] |= models.DO_NOT_USE
    science.data[0, 5, 5] = 1e6
    plain = OutlierDetectionStep.call(science, configure_log=False)
    assert not plain.dq[0, 5, 5] & models.OUTLIER
    every = OutlierDetectionStep.call(science, good_bits="None", configure_log=False)
    assert every.dq[0, 5, 5] & models.OUTLIER


def test_unknown_bits_are_refused(science):
    with pytest.raises(ValueError, match="good_bits"):
        OutlierDetectionStep.call(science, good_bits="NO_SUCH_BIT", configure_log=False)
