import numpy as np
from astropy.table import Table

from webbalign.core.registration import FitStatus, ShiftFit
from webbalign.products.tables import shift_table, write_ecsv


def fit(dx):
    covariance = np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 16.0]]) * 1e-6
    return ShiftFit(dx, -dx / 3, 1.25, covariance, 1.01, 100, 4, FitStatus.OK)


def test_one_row_per_pair_with_errors():
    table = shift_table([[fit(0.1), fit(0.2)], [fit(0.3), fit(0.4)]], [0, 1])
    assert table["sci_int"].tolist() == [0, 0, 1, 1]
    assert table["psf_int"].tolist() == [0, 1, 0, 1]
    assert table["dx"].tolist() == [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(table["dx_err"], 2e-3)
    np.testing.assert_allclose(table["dy_err"], 3e-3)
    np.testing.assert_allclose(table["dxdy_cov"], 1e-6)
    np.testing.assert_allclose(table["flux_ratio_err"], 4e-3)
    assert set(table["status"]) == {b"OK"}


def test_ecsv_keeps_full_precision_and_units(tmp_path):
    table = shift_table([[fit(1 / 3)]], [-1])
    path = write_ecsv(table, tmp_path / "x_shifts.ecsv", {"product": "x.fits"})
    again = Table.read(path)
    assert again["dx"][0] == 1 / 3
    assert again["dx"].unit == "pix"
    assert again["status"][0] == "OK"
    assert again.meta["product"] == "x.fits"
    assert again["dx"].description.startswith("x shift of the PSF")
