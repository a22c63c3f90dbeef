from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.errors import InputError, OptionError
from webbalign.core.klip import (
    BasisStatus,
    Klip,
    SubtractionStatus,
    fit_basis,
    leading_modes,
    leave_out_matrix,
    projection_weights,
    stack_subtractions,
    subtract,
)

SHAPE = (24, 31)


def images(seed, nrefs=7, nints=3, modes=4, noise=0.05):
    """References and targets that share a few patterns, of different flux, on a background."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(modes, *SHAPE)) * 10.0 ** -np.arange(modes)[:, None, None]
    flux = rng.uniform(0.4, 9.0, nrefs)
    mix = 1.0 + rng.normal(size=(nrefs, modes)) * 0.3
    references = flux[:, None, None] * np.tensordot(mix, patterns, 1) + 5.0
    targets = np.tensordot(1.0 + rng.normal(size=(nints, modes)) * 0.3, patterns, 1) + 2.0
    references += rng.normal(size=references.shape) * noise
    targets += rng.normal(size=targets.shape) * noise
    return references, targets


def textbook(references, target, truncate):
    """KLIP as Soummer et al. (2012) write it, by singular values."""
    rows = references.reshape(len(references), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    modes = np.linalg.svd(rows, full_matrices=False)[2][:truncate]
    flat = target.ravel() - target.mean()
    return (flat - modes.T @ (modes @ flat)).reshape(target.shape)


@pytest.mark.parametrize("truncate", [0, 1, 3, 6, 7, 50])
def test_equals_the_textbook(truncate):
    references, targets = images(0)
    basis = fit_basis(references, klip=Klip(truncate=truncate))
    result = subtract(basis, targets)
    assert basis.n_modes == min(truncate, 7)
    for target, residual in zip(targets, result.residual, strict=True):
        scale = np.abs(target).max()
        np.testing.assert_allclose(
            residual, textbook(references, target, truncate), rtol=0, atol=1e-11 * scale
        )


def test_modes_are_orthonormal_and_of_zero_mean():
    basis = fit_basis(images(1)[0], klip=Klip(truncate=5))
    np.testing.assert_allclose(basis.modes @ basis.modes.T, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(basis.modes.sum(axis=1), 0.0, atol=1e-10)
    assert (np.diff(basis.eigenvalues) < 0).all()


def test_parts_add_up_to_the_target():
    references, targets = images(2)
    result = subtract(fit_basis(references, klip=Klip(truncate=3)), targets)
    total = result.residual + result.model + result.offsets[:, None, None]
    np.testing.assert_allclose(total, targets, atol=1e-12)
    basis = fit_basis(references)
    model = subtract(basis, targets).coefficients @ basis.references
    np.testing.assert_allclose(model, subtract(basis, targets).model.reshape(3, -1))


def test_recovers_the_starlight_of_a_sparse_field():
    references, _ = images(3, noise=0.0)
    starlight = 0.7 * references[2] - 0.2 * references[5]
    companion = np.zeros(SHAPE)
    companion[10, 20] = 3.0
    result = subtract(fit_basis(references), starlight + companion)
    lost = companion - companion.mean() - result.residual[0]
    # what the modes take from one pixel out of 744
    assert np.abs(lost).max() < 0.1
    alone = subtract(fit_basis(references), starlight)
    np.testing.assert_allclose(alone.residual, 0.0, atol=1e-10)


def test_one_reference():
    references, targets = images(4)
    result = subtract(fit_basis(references[:1]), targets)
    np.testing.assert_allclose(
        result.residual[0], textbook(references[:1], targets[0], 1), atol=1e-12
    )


@pytest.mark.parametrize("scale", [1.0, 3.7])
def test_copies_change_nothing(scale):
    references, targets = images(5)
    single = references.astype(np.float32)
    copies = np.concatenate([single, (single[:3] * np.float32(scale)), single[:1]])
    basis = fit_basis(copies)
    assert basis.status is BasisStatus.RANK_DEFICIENT
    assert basis.n_modes == 7
    np.testing.assert_allclose(
        subtract(basis, targets).residual, subtract(fit_basis(single), targets).residual, atol=2e-5
    )


def test_constant_references_have_no_modes():
    basis = fit_basis(np.ones((3, *SHAPE)))
    assert basis.status is BasisStatus.NO_MODES
    target = images(6)[1][0]
    np.testing.assert_allclose(subtract(basis, target).residual[0], target - target.mean())


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    truncate=st.integers(0, 9),
    factor=st.floats(1e-3, 1e3),
    pedestal=st.floats(-100.0, 100.0),
)
def test_scaling_and_order(seed, truncate, factor, pedestal):
    """Residual follows the target's scale, not its pedestal, nor order and scale of all
    references together. (The scale of a single one matters when modes are cut off.)"""
    references, targets = images(seed)
    klip = Klip(truncate=truncate)
    plain = subtract(fit_basis(references, klip=klip), targets).residual
    scaled = subtract(fit_basis(references, klip=klip), factor * targets + pedestal).residual
    np.testing.assert_allclose(scaled, factor * plain, atol=1e-9 * (factor * 20 + abs(pedestal)))
    order = np.random.default_rng(seed).permutation(len(references))
    other = subtract(fit_basis(references[order] * factor, klip=klip), targets).residual
    np.testing.assert_allclose(other, plain, atol=1e-8)


def test_scale_of_one_reference_matters_only_when_modes_are_cut():
    references, targets = images(7)
    brighter = references * np.array([20.0, 1, 1, 1, 1, 1, 1])[:, None, None]
    for truncate, same in ((7, True), (2, False)):
        klip = Klip(truncate=truncate)
        first, second = (
            subtract(fit_basis(r, klip=klip), targets).residual for r in (references, brighter)
        )
        assert np.allclose(first, second, atol=1e-8) is same


def test_more_modes_leave_less():
    references, targets = images(8)
    power = [
        np.sum(subtract(fit_basis(references, klip=Klip(truncate=k)), targets[0]).residual ** 2)
        for k in range(8)
    ]
    assert (np.diff(power) < 0).all()


def test_bad_pixels_of_a_target_are_left_out():
    """The same as a least-squares fit of constant and modes to the good pixels."""
    references, targets = images(9)
    good = np.random.default_rng(0).random(targets.shape) > 0.1
    spoiled = np.where(good, targets, np.nan)
    spoiled[0, ~good[0]] = 1e9
    for truncate in (3, 7):
        basis = fit_basis(references, klip=Klip(truncate=truncate))
        result = subtract(basis, spoiled, good=good)
        assert (np.isnan(result.residual) == ~good).all()
        assert np.isfinite(result.model).all()
        for i, use in enumerate(good):
            design = np.vstack([np.ones(use.sum()), basis.modes[:, use.ravel()]]).T
            fit = np.linalg.lstsq(design, targets[i][use], rcond=None)[0]
            expected = targets[i][use] - design @ fit
            np.testing.assert_allclose(result.residual[i][use], expected, atol=1e-10)
        assert (result.n_used == good.sum(axis=(1, 2))).all()


def test_a_trivial_mask_changes_nothing():
    references, targets = images(10)
    basis = fit_basis(references)
    masked = subtract(basis, targets, good=np.ones(targets.shape, bool))
    np.testing.assert_allclose(masked.residual, subtract(basis, targets).residual, atol=1e-12)
    everywhere = fit_basis(
        references, good=np.ones(SHAPE, bool), bad=np.zeros(references.shape, bool)
    )
    np.testing.assert_allclose(subtract(everywhere, targets).residual, masked.residual, atol=1e-12)


def test_pixels_outside_the_field_do_not_matter():
    references, targets = images(11)
    field = np.zeros(SHAPE, bool)
    field[3:20, 5:28] = True
    inside = subtract(fit_basis(references[:, 3:20, 5:28]), targets[:, 3:20, 5:28])
    for filling in (0.0, 1e6, np.nan):
        outside_refs = np.where(field, references, filling)
        outside = subtract(fit_basis(outside_refs, good=field), np.where(field, targets, filling))
        assert (np.isnan(outside.residual) == ~field).all()
        np.testing.assert_allclose(outside.residual[:, 3:20, 5:28], inside.residual, atol=1e-9)


def test_a_mode_hidden_by_bad_pixels_is_left_out():
    references, targets = images(12)
    spot = np.zeros(SHAPE)
    spot[5, 5] = 1000.0
    basis = fit_basis(np.concatenate([references, (references[0] + spot)[None]]))
    target = targets[0].copy()
    target[5, 5] = np.nan
    result = subtract(basis, target)
    assert result.status == (SubtractionStatus.UNSEEN_MODES,)
    assert np.isfinite(result.residual[0][np.isfinite(target)]).all()
    assert np.nanmax(np.abs(result.residual)) < 1.0


def test_a_target_without_good_pixels():
    references, targets = images(13)
    targets[1] = np.nan
    result = subtract(fit_basis(references), targets)
    assert result.status[1] is SubtractionStatus.NO_DATA
    assert np.isnan(result.residual[1]).all()
    assert np.isfinite(result.residual[[0, 2]]).all()


@pytest.mark.parametrize("truncate", [3, 50])
def test_bad_pixels_of_references_touch_only_themselves(truncate):
    noise = 0.05
    references, targets = images(14, nrefs=20, noise=noise)
    rng = np.random.default_rng(1)
    bad = rng.random(references.shape) < 0.004
    bad[:3, 4, 4] = True
    spoiled = references.copy()
    spoiled[bad] = 1e8
    spoiled[2, bad[2]] = np.nan
    klip = Klip(truncate=truncate)
    basis = fit_basis(spoiled, klip=klip, bad=bad)
    assert (basis.n_repaired == bad.sum(axis=(1, 2))).all()
    np.testing.assert_allclose(
        basis.gram, basis.references @ basis.references.T, rtol=0, atol=1e-9 * basis.gram.max()
    )
    np.testing.assert_allclose(basis.references.sum(axis=1), 0.0, atol=1e-7)
    filled = basis.references + basis.means[:, None]
    wrong = (filled - references.reshape(filled.shape))[bad.reshape(filled.shape)]
    # the prediction of the others carries their noise beside the pixel's own
    assert np.std(wrong) < 2.0 * noise
    change = (
        subtract(basis, targets).residual
        - subtract(fit_basis(references, klip=klip), targets).residual
    )
    elsewhere = ~bad.any(axis=0)
    assert np.abs(change[:, elsewhere]).max() < 0.1 * noise


def test_a_pixel_bad_in_all_references_is_unknown():
    references, targets = images(15)
    references[:, 7, 9] = np.nan
    result = subtract(fit_basis(references), targets)
    assert np.isnan(result.residual[:, 7, 9]).all()
    assert np.isnan(result.residual).sum() == len(targets)


def test_one_reference_cannot_be_repaired():
    references, targets = images(16)
    references[0, 3, 3] = np.inf
    result = subtract(fit_basis(references[:1]), targets)
    assert np.isnan(result.residual[:, 3, 3]).all()
    assert np.isfinite(result.residual).sum() == targets.size - len(targets)


def test_integrations_one_by_one_or_together():
    references, targets = images(17)
    targets[1, 2, 3] = np.nan
    basis = fit_basis(references)
    together = subtract(basis, targets)
    one_by_one = stack_subtractions([subtract(basis, target) for target in targets])
    for name in ("residual", "model", "offsets", "coefficients", "flux_ratios", "n_used"):
        np.testing.assert_allclose(
            getattr(one_by_one, name), getattr(together, name), atol=1e-11, err_msg=name
        )
    assert one_by_one.status == together.status


def test_flux_ratio_is_that_of_the_pair():
    references, _ = images(18)
    result = subtract(fit_basis(references), 0.35 * references[4] + 7.0)
    np.testing.assert_allclose(result.flux_ratios[0, 4], 0.35, rtol=1e-12)


def test_float32_is_summed_in_double_precision():
    references, targets = images(19)
    references, targets = (references + 1e4).astype(np.float32), (targets + 1e4).astype(np.float32)
    result = subtract(fit_basis(references), targets)
    exact = textbook(references.astype(float), targets[0].astype(float), 7)
    np.testing.assert_allclose(result.residual[0], exact, atol=1e-8)


def test_inputs_are_not_changed():
    references, targets = images(20)
    references[0, 1, 1] = targets[0, 2, 2] = np.nan
    before = references.copy(), targets.copy()
    good = np.ones(SHAPE, bool)
    subtract(fit_basis(references, good=good), targets)
    np.testing.assert_array_equal(references, before[0])
    np.testing.assert_array_equal(targets, before[1])
    assert good.all()


@pytest.mark.parametrize("truncate", [2, 50])
def test_leave_out_matrix_is_klip_without_the_group(truncate):
    references, _ = images(21)
    groups = np.array([0, 0, 1, 1, 1, 2, 2])
    basis = fit_basis(references)
    residuals = leave_out_matrix(basis.gram, groups, truncate) @ basis.references
    for k, group in enumerate(groups):
        rest = fit_basis(references[groups != group], klip=Klip(truncate=truncate))
        expected = subtract(rest, references[k]).residual.ravel()
        np.testing.assert_allclose(residuals[k], expected, atol=1e-9)


def test_leave_out_matrix_of_one_group_leaves_all():
    gram = fit_basis(images(22)[0]).gram
    np.testing.assert_array_equal(leave_out_matrix(gram, np.zeros(7), 50), np.eye(7))


def test_projection_weights_drop_null_modes():
    rows = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    weights, eigenvalues, rank = projection_weights(rows @ rows.T, 5)
    assert rank == 1
    assert weights.shape == (1, 2)
    np.testing.assert_allclose(eigenvalues, [70.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda r, t: fit_basis(r[0]),
        lambda r, t: fit_basis(r[:0]),
        lambda r, t: fit_basis(r, good=np.ones((2, 2), bool)),
        lambda r, t: fit_basis(r, bad=np.ones((2, 2), bool)),
        lambda r, t: fit_basis(r, good=np.zeros(SHAPE, bool)),
        lambda r, t: fit_basis(np.full_like(r, np.nan)),
        lambda r, t: subtract(fit_basis(r), t[:, 1:]),
        lambda r, t: subtract(fit_basis(r), t, good=np.ones(SHAPE, bool)),
    ],
)
def test_input_that_does_not_fit_is_refused(call):
    with pytest.raises(InputError):
        call(*images(23))


@pytest.mark.parametrize("options", [{"truncate": -1}, {"err_method": "none"}])
def test_options_are_checked(options):
    with pytest.raises(OptionError):
        Klip(**options)


def test_the_leading_modes_are_orthonormal_and_ordered():
    rng = np.random.default_rng(8)
    references = rng.normal(size=(6, 12, 10))
    good = np.ones((12, 10), bool)
    good[3, 4] = False
    basis = fit_basis(references, klip=Klip(truncate=5), good=good)
    modes = leading_modes(basis, 3)
    assert modes.shape == (3, 12, 10)
    assert np.isnan(modes[:, 3, 4]).all()
    flat = modes[:, good]
    np.testing.assert_allclose(flat @ flat.T, np.eye(3), atol=1e-12)
    centred = references[:, good] - references[:, good].mean(axis=1, keepdims=True)
    variance = ((centred @ flat.T) ** 2).sum(axis=0)
    np.testing.assert_allclose(variance, basis.eigenvalues[:3], rtol=1e-10)
