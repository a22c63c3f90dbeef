from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.core.coronagraph import Coronagraph, observe
from webbalign.core.errors import InputError
from webbalign.core.klip import Klip, fit_basis, stack_subtractions, subtract
from webbalign.core.klip_errors import ErrorStatus, subtraction_errors

# px per lambda / D of NIRCam at 3.35 micron (0.063 arcsec) and MIRI at 11.4 micron (0.11 arcsec)
CORONAGRAPHS = {"nircam": ("spot", 1.66), "miri": ("4qpm", 3.3)}
# rings of about 0.3 arcsec beyond 1 arcsec from the star
EDGES = {"nircam": [16, 20, 24, 28, 32, 40, 48], "miri": [9, 12, 15, 18, 22, 30, 38, 48]}


@pytest.fixture(scope="module")
def coronagraphs():
    return {name: Coronagraph(96, scale, mask) for name, (mask, scale) in CORONAGRAPHS.items()}


def reduce(sequence, truncate, **options):
    klip = Klip(truncate=truncate)
    basis = fit_basis(sequence.references, klip=klip)
    subtraction = subtract(basis, sequence.science)
    errors = subtraction_errors(
        basis,
        subtraction,
        sequence.variances,
        sequence.reference_variances,
        klip=klip,
        groups=sequence.groups,
        **options,
    )
    return basis, subtraction, errors


def pulls(sequence, subtraction, errors, edges):
    """Of single integrations and of their mean."""
    n = len(subtraction.residual)
    single = sequence.pulls(subtraction.residual, errors.independent + errors.common, edges)
    mean_variance = errors.independent.mean(axis=0) / n + errors.common
    return single, sequence.pulls(subtraction.residual.mean(axis=0), mean_variance, edges)


@pytest.mark.parametrize("truncate", [5, 20, 50])
@pytest.mark.parametrize("nints", [1, 5, 20])
@pytest.mark.parametrize("instrument", CORONAGRAPHS)
@pytest.mark.parametrize("flux", [2e9, 2e10])
def test_errors_agree_with_the_scatter(coronagraphs, instrument, flux, nints, truncate):
    """From where noise governs to where speckles do, for few and for all modes."""
    sequence = observe(coronagraphs[instrument], nints=nints, flux=flux, seed=nints)
    _, subtraction, errors = reduce(sequence, truncate)
    for pull in pulls(sequence, subtraction, errors, EDGES[instrument]):
        assert (pull > 0.8).all(), pull
        assert (pull < 1.25).all(), pull


@pytest.mark.parametrize("ndithers, ref_nints", [(1, 1), (1, 3), (2, 1), (3, 1)])
def test_few_references(coronagraphs, ndithers, ref_nints):
    sequence = observe(coronagraphs["nircam"], nints=4, ndithers=ndithers, ref_nints=ref_nints)
    _, subtraction, errors = reduce(sequence, 50)
    expected = ErrorStatus.OK if ndithers > 1 else ErrorStatus.NOT_LEFT_OUT
    assert errors.status is expected
    for pull in pulls(sequence, subtraction, errors, EDGES["nircam"]):
        assert (pull > 0.8).all(), pull
        assert (pull < 1.25).all(), pull


@pytest.mark.parametrize("ref_flux", [0.35, 9.0])
def test_references_of_other_flux(coronagraphs, ref_flux):
    sequence = observe(coronagraphs["nircam"], nints=5, ref_flux=ref_flux, seed=3)
    _, subtraction, errors = reduce(sequence, 50)
    for pull in pulls(sequence, subtraction, errors, EDGES["nircam"]):
        assert (pull > 0.8).all(), pull
        assert (pull < 1.25).all(), pull


def test_independent_errors_alone_are_too_small(coronagraphs):
    """What VAR_COMMON is for."""
    sequence = observe(coronagraphs["nircam"], nints=20, seed=4)
    _, subtraction, errors = reduce(sequence, 50)
    pull = sequence.pulls(
        subtraction.residual.mean(axis=0), errors.independent.mean(axis=0) / 20, [16, 20, 24]
    )
    assert (pull > 2.0).all()


def test_a_companion_hardly_raises_the_errors(coronagraphs):
    coronagraph = coronagraphs["nircam"]
    edges = EDGES["nircam"]
    clean = observe(coronagraph, nints=5, seed=5)
    # at 0.8 arcsec = 7.7 lambda / D
    dirty = observe(coronagraph, nints=5, seed=5, companion=(1e-4, 7.7, 0.0))
    _, _, without = reduce(clean, 50)
    _, subtraction, with_companion = reduce(dirty, 50)
    for low, high in pairwise(edges):
        ring = (clean.radius >= low) & (clean.radius < high)
        ratio = np.sqrt(np.median(with_companion.common[ring]) / np.median(without.common[ring]))
        assert 0.85 < ratio < 1.2
    single, mean = pulls(dirty, subtraction, with_companion, edges)
    assert (single > 0.8).all()
    assert (mean > 0.8).all()


def test_propagated_noise_is_exact():
    """Against the definition, with the projection written as a matrix."""
    rng = np.random.default_rng(6)
    shape = (12, 13)
    references = rng.normal(size=(5, *shape)) + 3.0
    targets = rng.normal(size=(3, *shape))
    level = np.array([1.0, 0.5, 2.0])[:, None, None]
    variances = level * rng.uniform(0.5, 2.0, shape)
    reference_variances = rng.uniform(0.5, 2.0, references.shape)
    basis = fit_basis(references, klip=Klip(truncate=3))
    subtraction = subtract(basis, targets)
    errors = subtraction_errors(
        basis, subtraction, variances, reference_variances, klip=Klip(truncate=3)
    )
    npix = targets[0].size
    keep = np.eye(npix) - basis.modes.T @ basis.modes - 1.0 / npix
    for i in range(3):
        expected = (keep**2) @ variances[i].ravel()
        found = (errors.independent[i] - errors.changing).ravel()
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    mixed = np.tensordot(subtraction.coefficients.mean(axis=0) ** 2, reference_variances, 1)
    np.testing.assert_allclose(errors.references.ravel(), (keep**2) @ mixed.ravel(), rtol=1e-10)


def test_noise_of_references_by_trial():
    """Many draws of the references' noise change the residual by what is predicted."""
    rng = np.random.default_rng(7)
    shape = (32, 32)
    pattern = rng.normal(size=(2, *shape)) * np.array([100.0, 20.0])[:, None, None]
    mix = np.array([[1.0, 0.3], [1.1, -0.2], [0.9, 0.1], [1.2, 0.0]])
    clean = np.tensordot(mix, pattern, 1)
    target = pattern[0] * 0.7 + rng.normal(size=shape)
    sigma = 0.4
    draws = np.array(
        [
            subtract(
                fit_basis(clean + rng.normal(size=clean.shape) * sigma, klip=Klip(truncate=2)),
                target,
            ).residual[0]
            for _ in range(300)
        ]
    )
    basis = fit_basis(clean, klip=Klip(truncate=2))
    errors = subtraction_errors(
        basis,
        subtract(basis, target),
        np.ones((1, *shape)),
        np.full(clean.shape, sigma**2),
        klip=Klip(truncate=2),
    )
    ratio = draws.var(axis=0) / errors.references
    np.testing.assert_allclose(ratio.mean(), 1.0, atol=0.05)


def test_flux_scales_everything(coronagraphs):
    sequence = observe(coronagraphs["nircam"], nints=3, ndithers=3, ref_nints=2)
    klip = Klip(truncate=4)
    basis = fit_basis(sequence.references, klip=klip)
    args = (sequence.reference_variances,)
    options = {"klip": klip, "groups": sequence.groups}
    plain = subtraction_errors(
        basis, subtract(basis, sequence.science), sequence.variances, *args, **options
    )
    scaled = subtraction_errors(
        basis, subtract(basis, 50 * sequence.science), 2500 * sequence.variances, *args, **options
    )
    for name in ("independent", "common", "references", "standing", "changing"):
        np.testing.assert_allclose(
            getattr(scaled, name), 2500 * getattr(plain, name), rtol=1e-6, err_msg=name
        )


def test_order_of_references_and_integrations(coronagraphs):
    sequence = observe(coronagraphs["nircam"], nints=4, ndithers=4, ref_nints=2)
    klip = Klip(truncate=5)
    _, _, plain = reduce(sequence, 5)
    order, turn = np.random.default_rng(0).permutation(8), np.array([2, 0, 3, 1])
    basis = fit_basis(sequence.references[order], klip=klip)
    other = subtraction_errors(
        basis,
        subtract(basis, sequence.science[turn]),
        sequence.variances[turn],
        sequence.reference_variances[order],
        klip=klip,
        groups=sequence.groups[order],
    )
    np.testing.assert_allclose(other.common, plain.common, rtol=1e-6)
    np.testing.assert_allclose(other.independent, plain.independent[turn], rtol=1e-6)


def test_own_references_for_each_integration(coronagraphs):
    """The errors come from the first set: sets that hardly differ give the same."""
    sequence = observe(coronagraphs["nircam"], nints=3, ndithers=4, ref_nints=2)
    bases = [fit_basis(sequence.references * scale) for scale in (1.0, 1.0 + 1e-9, 1.0 - 1e-9)]
    each = stack_subtractions(
        [subtract(basis, image) for basis, image in zip(bases, sequence.science, strict=True)]
    )
    errors = subtraction_errors(
        bases[0], each, sequence.variances, sequence.reference_variances, groups=sequence.groups
    )
    _, _, shared = reduce(sequence, 50)
    np.testing.assert_allclose(errors.common, shared.common, rtol=1e-4)


def test_bad_pixels_touch_only_themselves(coronagraphs):
    sequence = observe(coronagraphs["nircam"], nints=4, ndithers=4, ref_nints=2)
    rng = np.random.default_rng(8)
    bad = rng.random(sequence.science.shape) < 0.01
    science, variances = sequence.science.copy(), sequence.variances.copy()
    science[bad] = np.nan
    variances[bad] = np.nan
    variances[0, 10, 10] = np.nan
    reference_variances = sequence.reference_variances.copy()
    reference_variances[1, 20, 20] = np.nan
    klip = Klip()
    basis = fit_basis(sequence.references, klip=klip)
    errors = subtraction_errors(
        basis, subtract(basis, science), variances, reference_variances, groups=sequence.groups
    )
    bad[0, 10, 10] = True
    assert (np.isnan(errors.independent) == bad).all()
    assert np.isfinite(errors.common).all()
    _, _, clean = reduce(sequence, 50)
    ratio = (errors.independent + errors.common) / (clean.independent + clean.common)
    assert np.nanpercentile(np.abs(ratio - 1.0), 99) < 0.2
    assert abs(np.nanmedian(ratio) - 1.0) < 0.01


def test_pixels_outside_the_field_have_no_error(coronagraphs):
    sequence = observe(coronagraphs["miri"], nints=2, ndithers=3, ref_nints=1)
    field = np.zeros((96, 96), bool)
    field[5:90, 8:93] = True
    basis = fit_basis(sequence.references, good=field)
    errors = subtraction_errors(
        basis, subtract(basis, sequence.science), sequence.variances, sequence.reference_variances
    )
    assert (np.isfinite(errors.common) == field).all()
    assert (np.isfinite(errors.independent) == field).all()


def test_nothing_subtracted_still_has_errors(coronagraphs):
    """With truncate 0 all of the starlight is error."""
    sequence = observe(coronagraphs["nircam"], nints=2, ndithers=3, ref_nints=1)
    _, subtraction, errors = reduce(sequence, 0)
    (pull, _) = pulls(sequence, subtraction, errors, [8, 12, 16, 20])
    assert (pull > 0.5).all()
    assert (pull < 2.0).all()


@pytest.mark.parametrize("truncate", [2, 50])
def test_std_of_references(truncate):
    rng = np.random.default_rng(9)
    references = rng.normal(size=(6, 10, 11))
    klip = Klip(truncate=truncate, err_method="std_of_refs")
    basis = fit_basis(references, klip=klip)
    subtraction = subtract(basis, rng.normal(size=(2, 10, 11)))
    errors = subtraction_errors(basis, subtraction, np.ones((2, 10, 11)), klip=klip)
    rows = basis.references
    rest = rows - rows @ basis.modes.T @ basis.modes
    np.testing.assert_allclose(np.sqrt(errors.common).ravel(), rest.std(axis=0), atol=1e-12)
    assert (errors.independent == 0).all()
    assert errors.status is ErrorStatus.STD_OF_REFERENCES


def test_input_that_does_not_fit_is_refused(coronagraphs):
    sequence = observe(coronagraphs["nircam"], nints=2, ndithers=2, ref_nints=1)
    basis = fit_basis(sequence.references)
    subtraction = subtract(basis, sequence.science)
    good = sequence.variances
    for variances, options in (
        (good[0], {}),
        (good, {"reference_variances": good[:, 1:]}),
        (good, {"groups": np.arange(5)}),
        (np.full_like(good, np.nan), {}),
    ):
        with pytest.raises(InputError):
            subtraction_errors(basis, subtraction, variances, **options)
