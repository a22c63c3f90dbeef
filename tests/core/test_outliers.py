import warnings

import numpy as np
import pytest
from scipy import ndimage, special

from webbalign.core import outliers
from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import spec
from webbalign.core.outliers import OutlierDetection, OutlierStatus, find_outliers

JWST = OutlierDetection(jitter_scale=0, missing_err="zero", min_integrations=1, flag_bad=True)
MAS = np.pi / 180 / 3600 / 1000


class Coronagraph:
    """A telescope of 6.6 m behind a mask: images of a star whose position is given."""

    def __init__(self, mask, wavelength, scale, seed=0):
        n = 64
        self.u = (np.arange(n) - (n - 1) / 2) / n * 6.6
        x, y = np.meshgrid(self.u, self.u)
        r = np.hypot(x, y)
        self.pupil = ((r < 3.3) & (r > 0.5) & (np.abs(x) > 0.06)).astype(float)
        self.stop = ndimage.binary_erosion(self.pupil > 0, iterations=3).astype(float)
        spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((n, n)))
        k = np.hypot(*np.meshgrid(*2 * (np.fft.fftfreq(n) * n,)))
        error = np.fft.ifft2(spectrum * np.maximum(k, 1) ** -1.3).real
        self.wavefront = 70e-9 * error / error.std()
        angle = (np.arange(160) - 79.5) * wavelength / 6.6 / 4
        ax, ay = np.meshgrid(angle, angle)
        if mask == "round":
            z = 3.2928 * np.hypot(ax, ay) / MAS / 1000 + 1e-9
            self.blocked = (2 * special.j1(z) / z) ** 2
        else:
            self.blocked = 1 - np.sign(ax * ay)
        self.to_mask = np.exp(-2j * np.pi / wavelength * np.outer(angle, self.u))
        self.weight = (self.u[1] - self.u[0]) * (angle[1] - angle[0]) / wavelength
        self.wavelength, self.scale = wavelength, scale * 1000 * MAS

    def image(self, shape, centre, x, y):
        phase = self.wavefront + MAS * (x * self.u[None] + y * self.u[:, None])
        field = self.pupil * np.exp(2j * np.pi / self.wavelength * phase)
        at_mask = self.to_mask @ field @ self.to_mask.T
        back = self.to_mask.conj()
        field = field - self.weight**2 * back.T @ (at_mask * self.blocked) @ back
        axes = [(np.arange(n) - c) * self.scale for n, c in zip(shape, centre[::-1], strict=True)]
        out = [np.exp(-2j * np.pi / self.wavelength * np.outer(a, self.u)) for a in axes]
        return np.abs(out[0] @ (field * self.stop) @ out[1].T) ** 2


INSTRUMENTS = {
    "nircam": (("round", 3.56e-6, 0.063), (100, 110), (52.3, 47.6)),
    "miri": (("quadrants", 11.4e-6, 0.11), (110, 100), (48.7, 55.2)),
}


def sequence(instrument, n, jitter, *, seed=1, hits=0.001, hits_near=0.004):
    """Return (data, err, height of the hits in sigma, pixels within 15 px of the star)."""
    settings, shape, centre = INSTRUMENTS[instrument]
    telescope = Coronagraph(*settings)
    rng = np.random.default_rng(seed)
    pointing = (5.0, -7.0) + jitter * rng.standard_normal((n, 2))
    images = np.array([telescope.image(shape, centre, *where) for where in pointing])
    # the brightest speckle just below full well, above a background of 60 electrons
    electrons = images / np.median(images, axis=0).max() * 7e4 + 60.0
    sigma = np.sqrt(electrons + 64.0)
    data = rng.poisson(electrons) + 8.0 * rng.standard_normal(electrons.shape)
    y, x = np.indices(shape)
    near = np.hypot(x - centre[0], y - centre[1]) < 15
    chance = rng.random(data.shape) < np.where(near, hits_near, hits)
    height = np.where(chance, 10 ** rng.uniform(1.0, 4.0, data.shape), 0.0)
    err = np.sqrt(np.maximum(data, 30.0) + 64.0 + height * sigma)
    return data + height * sigma, err, height, near


def plain_rule(data, err, good, snr=5.0):
    median = np.nanmedian(np.where(good, data, np.nan), axis=0)
    return np.abs(data - median) > snr * np.nan_to_num(err)


@pytest.mark.parametrize("jitter", [1.0, 3.0])
@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("instrument", ["nircam", "miri"])
def test_the_star_is_not_eaten_and_cosmic_rays_are_found(instrument, n, jitter):
    false = clean = found = hits = 0
    for seed in range(2 if n == 20 else 6):
        data, err, height, near = sequence(instrument, n, jitter, seed=seed)
        mask = find_outliers(data.astype(np.float32), err.astype(np.float32)).mask
        untouched = (height == 0) & near
        false += np.count_nonzero(mask & untouched)
        clean += np.count_nonzero(untouched)
        large = (height > 10) & ~near
        found += np.count_nonzero(mask & large)
        hits += np.count_nonzero(large)
    assert false < 1e-4 * clean
    assert found >= 0.95 * hits


def test_most_cosmic_rays_on_the_star_are_found_too():
    data, err, height, near = sequence("nircam", 20, 2.0)
    large = (height > 10) & near
    assert np.count_nonzero(large) > 30
    mask = find_outliers(data, err).mask
    assert np.count_nonzero(mask & large) >= 0.9 * np.count_nonzero(large)


def test_without_motion_model_the_star_is_eaten():
    data, err, height, near = sequence("miri", 20, 3.0)
    mask = find_outliers(data, err, options=OutlierDetection(jitter_scale=0)).mask
    untouched = (height == 0) & near
    assert np.count_nonzero(mask & untouched) > 0.01 * np.count_nonzero(untouched)


def test_clusters_of_hits_are_found_whole():
    data, err, _, near = sequence("nircam", 8, 1.0, hits=0, hits_near=0)
    y, x = np.indices(near.shape)
    ball = np.hypot(x - 12, y - 15) <= 5
    data[3, ball] += 30 * err[3, ball]
    mask = find_outliers(data, err).mask
    assert mask[3, ball].all()
    assert not mask[[0, 1, 2, 4, 5, 6, 7]][:, ball].any()


def test_far_from_the_star_the_rule_is_the_plain_one():
    data, err, _, _ = sequence("nircam", 10, 2.0)
    result = find_outliers(data, err)
    plain = plain_rule(data, err, np.ones(data.shape, bool))
    assert result.zone.any()
    np.testing.assert_array_equal(result.mask[:, ~result.zone], plain[:, ~result.zone])
    assert result.n_patterns > 0


@pytest.mark.parametrize("n", [5, 20])
def test_order_and_unit_change_nothing(n):
    data, err, _, _ = sequence("nircam", n, 2.0, seed=3)
    expected = find_outliers(data, err).mask
    order = np.random.default_rng(0).permutation(n)
    np.testing.assert_array_equal(find_outliers(data[order], err[order]).mask, expected[order])
    np.testing.assert_array_equal(find_outliers(0.125 * data, 0.125 * err).mask, expected)


def noise_cube(n=8, shape=(24, 30), seed=0):
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, *shape)).astype(np.float32)
    err = np.full(data.shape, 1.0, np.float32)
    return data, err, rng


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_the_plain_rule_to_the_bit(n):
    data, err, rng = noise_cube(n)
    data[rng.random(data.shape) < 0.05] = np.nan
    data[rng.random(data.shape) < 0.01] += 50
    err[rng.random(data.shape) < 0.02] = np.nan
    good = rng.random(data.shape) > 0.05
    with warnings.catch_warnings():
        # pixels without a value, for which nanmedian warns
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = plain_rule(data, err, good)
    result = find_outliers(data, err, good, options=JWST)
    np.testing.assert_array_equal(result.mask, expected)
    np.testing.assert_array_equal(result.n_found, result.mask.sum(axis=(1, 2)))


def test_nan_errors_flag_nothing_by_themselves():
    data, err, _ = noise_cube()
    err[:, 3, 4] = np.nan
    err[2, 10, 10] = np.nan
    data[2, 10, 10] = 1e6
    mask = find_outliers(data, err).mask
    assert not mask[:, 3, 4].any()
    assert not mask[2, 10, 10]
    zero = OutlierDetection(missing_err="zero")
    assert find_outliers(data, err, options=zero).mask[2, 10, 10]


def test_bad_pixels_are_neither_used_nor_flagged():
    data, err, _ = noise_cube()
    good = np.ones(data.shape, dtype=bool)
    # the median of 8 would follow the five bad values
    data[:5, 6, 6], good[:5, 6, 6] = 1e5, False
    data[7, 6, 6] = 1e4
    result = find_outliers(data, err, good)
    assert result.mask[:, 6, 6].tolist() == [False] * 7 + [True]
    assert abs(result.median[6, 6]) < 5


def test_two_good_values_of_a_pixel_flag_nothing():
    data, err, _ = noise_cube(5)
    data[:, 2, 2] = [0, 1e4, np.nan, np.nan, np.nan]
    assert not find_outliers(data, err).mask[:, 2, 2].any()


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_integrations(n):
    data, err, _ = noise_cube(n)
    data[0, 5, 5] = 1e6
    result = find_outliers(data, err)
    assert result.status is OutlierStatus.TOO_FEW
    assert f"{n} integrations" in result.reason
    assert not result.mask.any()
    assert result.n_found.tolist() == [0] * n
    np.testing.assert_allclose(result.median, np.median(data, axis=0))


def test_no_pixel_with_enough_values():
    data, err, _ = noise_cube(4)
    data[:2] = np.nan
    assert find_outliers(data, err).status is OutlierStatus.NO_DATA


def test_maskpt_of_zero_leaves_out_nothing():
    data, err, _ = noise_cube(5)
    good = np.ones(data.shape, dtype=bool)
    data[:3, 4, 4], good[:3, 4, 4] = 100.0, False
    used = find_outliers(data, err, good, options=OutlierDetection(maskpt=0))
    assert used.median[4, 4] == 100.0


def test_big_endian_and_integer_data():
    data, err, _ = noise_cube(5)
    data = np.round(data * 100)
    expected = find_outliers(data, err * 100).mask
    swapped = find_outliers(data.astype(">f4"), (err * 100).astype(">f4"))
    np.testing.assert_array_equal(swapped.mask, expected)
    np.testing.assert_array_equal(find_outliers(data.astype(int), err * 100).mask, expected)


def test_shapes_must_agree():
    data, err, _ = noise_cube(3)
    with pytest.raises(InputError, match=r"\(3, 24, 30\)"):
        find_outliers(data, err[:2])
    with pytest.raises(InputError, match="n, ny, nx"):
        find_outliers(data[0], err[0])


@pytest.mark.parametrize("snr", ["", "a", "5 4 3", "0", "-1 4", "nan", "inf 4"])
def test_bad_snr(snr):
    with pytest.raises(OptionError, match="snr"):
        OutlierDetection(snr=snr)


@pytest.mark.parametrize("snr, first", [("5.0 4.0", 5.0), ("7", 7.0), ("3.5, 2", 3.5)])
def test_first_snr_is_used(snr, first):
    options = OutlierDetection(snr=snr)
    assert options.threshold == first
    data, err, _ = noise_cube(9)
    data[4, 12, 12] = first + 1.5
    data[5, 13, 13] = first - 1.5
    data[:, 12:14, 12:14] -= np.median(data[:, 12:14, 12:14], axis=0)
    mask = find_outliers(data, err, options=options).mask
    assert mask[4, 12, 12]
    assert not mask[5, 13, 13]


def test_stpipe_spec_has_the_names_of_jwst():
    text = spec(OutlierDetection)
    for name in ("good_bits", "maskpt", "snr", "save_intermediate_results", "jitter_scale"):
        assert f"{name} = " in text


def test_an_error_of_zero_is_a_missing_one():
    data, err, _ = noise_cube()
    err[:, 3, 4] = 0.0
    assert not find_outliers(data, err).mask[:, 3, 4].any()
    like_jwst = OutlierDetection(jitter_scale=0, missing_err="zero")
    assert find_outliers(data, err, options=like_jwst).mask[:, 3, 4].any()


@pytest.mark.parametrize("options", [OutlierDetection(), JWST, OutlierDetection(maskpt=0)])
def test_rows_treated_apart_change_nothing(monkeypatch, options):
    data, err, *_ = sequence("nircam", 12, 3.0)
    data[3, 10:20] = np.nan
    good = np.random.default_rng(2).random(data.shape) > 0.01
    whole = find_outliers(data, err, good, options=options)
    monkeypatch.setattr(outliers, "VALUES", 7 * data[:, 0].size)
    apart = find_outliers(data, err, good, options=options)
    assert whole.mask.any()
    np.testing.assert_array_equal(apart.mask, whole.mask)
    np.testing.assert_array_equal(apart.median, whole.median)
    np.testing.assert_array_equal(apart.zone, whole.zone)
