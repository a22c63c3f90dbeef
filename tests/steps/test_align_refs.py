import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.errors import InputError
from webbalign.core.fourier import shift_image
from webbalign.products import models
from webbalign.products.streams import LazyQuadModel
from webbalign.steps import AlignRefsStep

SHIFTS = [(0.3, -0.4), (-1.2, 0.7), (0.0, 1.9)]


@pytest.fixture
def pair(science):
    """A noiseless scene, and the same moved by known shifts."""
    rng = np.random.default_rng(5)
    scene = 100 * gaussian_filter(rng.normal(size=(64, 64)), 2.0)
    scene *= np.exp(-(np.hypot(*(np.indices((64, 64)) - 31.5)) ** 2) / 100)
    target = CubeModel(
        data=np.array([scene, shift_image(scene, 0.1, 0.2)], "f4"),
        err=np.full((2, 64, 64), 0.1, "f4"),
    )
    psf = CubeModel(
        data=np.array([2 * shift_image(scene, dx, dy) for dx, dy in SHIFTS], "f4"),
        err=np.full((3, 64, 64), 0.1, "f4"),
    )
    for model, name in ((target, "jw1_calints.fits"), (psf, "p_psfstack.fits")):
        model.update(science)
        model.meta.filename = name
    mask = np.ones((64, 64), "f4")
    mask[30:34, 30:34] = 0
    return target, psf, models.ImageModel(mask)


def run(pair, **options):
    target, psf, mask = pair
    return AlignRefsStep.call(target, psf, override_psfmask=mask, configure_log=False, **options)


def test_injected_shifts_come_back(pair):
    aligned = run(pair, align_to="first")
    table = models.extension(aligned, "SHIFTS")
    np.testing.assert_allclose(table["dx"], [dx for dx, _ in SHIFTS], atol=1e-4)
    np.testing.assert_allclose(table["dy"], [dy for _, dy in SHIFTS], atol=1e-4)
    np.testing.assert_allclose(table["flux_ratio"], 2, rtol=1e-4)
    inside = (slice(None), slice(4, -4), slice(4, -4))
    expected = np.broadcast_to(2 * pair[0].data[0], aligned.shape)
    np.testing.assert_allclose(aligned.data[inside], expected[inside], atol=0.02)


def test_each_integration_has_its_own_references(pair):
    aligned = run(pair, align_to="each")
    assert isinstance(aligned, LazyQuadModel)
    assert aligned.shape == (2, 3, 64, 64)
    table = models.extension(aligned, "SHIFTS")
    np.testing.assert_allclose(table["dx"][3:], [dx - 0.1 for dx, _ in SHIFTS], atol=1e-4)
    for i in (0, 1):
        data = aligned.part(i).data[:, 4:-4, 4:-4]
        expected = np.broadcast_to(2 * pair[0].data[i, 4:-4, 4:-4], data.shape)
        np.testing.assert_allclose(data, expected, atol=0.02)
    aligned.close()


def test_mean_is_one_alignment_between_those_of_the_integrations(pair):
    table = models.extension(run(pair, align_to="mean"), "SHIFTS")
    assert table["sci_int"].tolist() == [-1] * 3
    np.testing.assert_allclose(table["dx"], [dx - 0.05 for dx, _ in SHIFTS], atol=2e-3)


def test_bad_pixels_do_not_spoil_the_fit_and_stay_flagged(pair):
    target, psf, _ = pair
    psf.data[1, 20, 20] = np.nan
    psf.err[1, 20, 20] = np.nan
    psf.dq[1, 20, 20] = 1
    target.data[0, 0, :3] = np.nan  # a corner, where peers put zeros
    aligned = run(pair, align_to="first", median_box_length=3)
    table = models.extension(aligned, "SHIFTS")
    np.testing.assert_allclose(table["dx"], [dx for dx, _ in SHIFTS], atol=0.02)
    assert np.isfinite(aligned.data).all()
    assert np.isfinite(aligned.err).all()
    assert (aligned.err >= 0).all()
    assert aligned.dq[1].any()
    assert not aligned.dq[[0, 2]].any()


def test_the_product_and_its_table_are_saved(pair, tmp_path):
    for align_to in ("first", "each"):
        folder = tmp_path / align_to
        aligned = run(pair, align_to=align_to, output_dir=str(folder), save_results=True)
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["jw1_psfalign.fits", "jw1_psfalign_shifts.ecsv"]
        table = Table.read(folder / "jw1_psfalign_shifts.ecsv")
        np.testing.assert_array_equal(table["dx"], models.extension(aligned, "SHIFTS")["dx"])
        assert aligned.meta.cal_step.align_psfs == "COMPLETE"


def test_without_the_product_its_table_alone_is_saved(pair, tmp_path):
    aligned = run(pair, save_psfalign=False, output_dir=str(tmp_path), save_results=True)
    assert [path.name for path in tmp_path.iterdir()] == ["jw1_psfalign_shifts.ecsv"]
    assert len(Table.read(tmp_path / "jw1_psfalign_shifts.ecsv")) == 6
    assert aligned.shape == (2, 3, 64, 64)


def test_na_leaves_the_references_where_they_are(pair):
    target, psf, _ = pair
    result = AlignRefsStep.call(target, psf, override_psfmask="N/A", configure_log=False)
    assert result.meta.cal_step.align_psfs == "SKIPPED"
    np.testing.assert_array_equal(result.data, psf.data)


def test_a_mask_without_weight_and_other_sizes_are_refused(pair):
    target, psf, mask = pair
    with pytest.raises(InputError, match=r"zero|no weight|weight"):
        run((target, psf, models.ImageModel(np.zeros((64, 64), "f4"))))
    with pytest.raises(InputError, match=r"64|63"):
        run((target, psf, models.ImageModel(np.ones((64, 63), "f4"))))
    small = models.new_cube(psf, psf.data[:, 1:], psf.err[:, 1:], psf.dq[:, 1:])
    with pytest.raises(InputError, match="64 x 63.*64 x 64"):
        run((target, small, mask))


def test_a_reference_without_signal_is_named_and_left_in_place(pair, caplog):
    target, psf, _ = pair
    psf.data[2] = np.random.default_rng(1).normal(0, 0.1, psf.data[2].shape)
    aligned = run(pair, align_to="first")
    table = models.extension(aligned, "SHIFTS")
    assert table["status"].tolist()[:2] == [b"OK", b"OK"]
    assert table["status"][2] != b"OK"
    np.testing.assert_allclose(aligned.data[2], psf.data[2], atol=1e-5)
    assert "1 of 3 references could not be aligned" in caplog.text


@pytest.mark.parametrize(
    ("instrument", "align_to", "warned"),
    [("MIRI", "first", True), ("MIRI", "each", False), ("NIRCAM", "first", False)],
)
def test_what_first_costs_on_miri_is_said(pair, caplog, instrument, align_to, warned):
    pair[0].meta.instrument.name = instrument
    run(pair, align_to=align_to)
    assert ("twice the starlight" in caplog.text) == warned


@pytest.mark.parametrize("fit_weighting", ["mask", "mask_and_errors"])
def test_an_image_without_a_good_pixel_spoils_no_other(pair, fit_weighting):
    expected = run(pair, fit_weighting=fit_weighting)
    table = models.extension(expected, "SHIFTS")
    target, psf, _ = pair
    target.data[0] = np.nan
    psf.dq[1] = models.DO_NOT_USE
    aligned = run(pair, fit_weighting=fit_weighting)
    found = models.extension(aligned, "SHIFTS")
    empty = (found["sci_int"] == 0) | (found["psf_int"] == 1)
    assert set(found["status"][empty]) == {b"NO_SIGNAL"}
    np.testing.assert_array_equal(found[~empty], table[~empty])
    part = aligned.part(1)
    assert np.isfinite(part.data).all()
    assert (part.dq[1] & models.DO_NOT_USE).all()
    np.testing.assert_array_equal(part.data[0], expected.part(1).data[0])


def test_first_and_mean_leave_out_integrations_without_data(pair):
    target, psf, mask = pair
    second = CubeModel(data=target.data[1:], err=target.err[1:])
    second.update(target)
    for align_to in ("first", "mean"):
        expected = models.extension(run((second, psf, mask), align_to=align_to), "SHIFTS")
        both = target.copy()
        both.data[0] = np.nan
        found = models.extension(run((both, psf, mask), align_to=align_to), "SHIFTS")
        for name in ("dx", "dy", "flux_ratio", "dx_err"):
            np.testing.assert_array_equal(found[name], expected[name])
        assert set(found["sci_int"]) == {1 if align_to == "first" else -1}


def test_a_reference_pixel_that_is_not_finite_stays_flagged(pair):
    pair[1].data[0, 20, 20] = np.nan
    flags = run(pair, align_to="first").dq[0]
    assert flags[18:23, 18:23].any()
    assert not flags[30:].any()
