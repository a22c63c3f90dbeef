import numpy as np
import pytest

from webbalign.core.alignment import Frame, PsfFrames, References, fit_frames
from webbalign.core.registration import AlignRefs, FitStatus
from webbalign.simulate.scenes import shifted_pairs


@pytest.fixture(scope="module")
def pairs():
    return shifted_pairs(3, (64, 64), max_shift=1.5, seed=4)


def references(pairs):
    errors = np.sqrt(pairs.psf_variances).astype(np.float32)
    shape = errors.shape
    return References(pairs.psfs.copy(), errors, np.zeros(shape, np.uint32), np.ones(shape, bool))


def frame(pairs):
    return Frame(pairs.science, pairs.science_variance, np.ones(pairs.science.shape, bool))


WEIGHT = np.ones((64, 64))


@pytest.mark.parametrize("weighting", ["mask", "mask_and_errors"])
def test_every_pair_is_fitted(pairs, weighting):
    options = AlignRefs(fit_weighting=weighting)
    psfs = PsfFrames(references(pairs), WEIGHT, options)
    fits = fit_frames([frame(pairs), frame(pairs)], psfs)
    assert [len(of_frame) for of_frame in fits] == [3, 3]
    for fit, (dx, dy) in zip(fits[0], pairs.shifts, strict=True):
        assert fit.status is FitStatus.OK
        assert abs(fit.dx - dx) < 5 * fit.errors[0]
        assert abs(fit.dy - dy) < 5 * fit.errors[1]


def test_shifted_references_lie_on_the_science_image(pairs):
    options = AlignRefs(shift_padding=0)
    stack = references(pairs)
    (fits,) = fit_frames([frame(pairs)], PsfFrames(stack, WEIGHT, options))
    data, err, flags = stack.shifted(fits, options)
    ratio = fits[1].flux_ratio
    noise = np.sqrt(err[1].astype(float) ** 2 + ratio**2 * pairs.science_variance)
    assert 0.9 < np.std((data[1] - ratio * pairs.science) / noise) < 1.1
    assert data.dtype == err.dtype == np.float32
    assert flags.dtype == np.uint32


def test_a_reference_that_was_not_fitted_stays_in_place(pairs):
    stack = references(pairs)
    stack.images[2] = np.random.default_rng(0).normal(size=(64, 64))
    stack.errors[2] = 1
    (fits,) = fit_frames([frame(pairs)], PsfFrames(stack, WEIGHT, AlignRefs()))
    assert fits[2].status is not FitStatus.OK
    data, _, _ = stack.shifted(fits, AlignRefs(shift_padding=0))
    np.testing.assert_allclose(data[2], stack.images[2], atol=1e-6)


@pytest.mark.parametrize("weighting", ["mask", "mask_and_errors"])
def test_what_is_kept_of_the_references_changes_no_fit(pairs, weighting):
    options = AlignRefs(fit_weighting=weighting)
    kept = PsfFrames(references(pairs), WEIGHT, options, keep=True)
    (fresh,) = fit_frames([frame(pairs)], PsfFrames(references(pairs), WEIGHT, options))
    for _ in range(2):
        (fits,) = fit_frames([frame(pairs)], kept)
        for fit, other in zip(fits, fresh, strict=True):
            assert (fit.dx, fit.dy, fit.flux_ratio) == (other.dx, other.dy, other.flux_ratio)
            np.testing.assert_array_equal(fit.covariance, other.covariance)


def test_shifted_references_go_where_they_are_wanted(pairs):
    stack, options = references(pairs), AlignRefs()
    (fits,) = fit_frames([frame(pairs)], PsfFrames(stack, WEIGHT, options))
    shape = stack.images.shape
    out = (np.empty(shape, "f4"), np.empty(shape, "f4"), np.empty(shape, "u4"))
    stack.shifted(fits, options, out)
    for one, other in zip(out, stack.shifted(fits, options), strict=True):
        np.testing.assert_array_equal(one, other)
