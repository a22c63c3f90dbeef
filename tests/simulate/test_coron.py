from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.errors import OptionError
from webbalign.simulate import CoronSimulation, simulate_coron3
from webbalign.simulate.truth import read_truth_images

from .conftest import SMALL


@pytest.fixture(scope="module")
def truth(sequence):
    return json.loads(sequence.truth.read_text())


def files(sequence):
    return [sequence.association.parent / name for name in (*sequence.science, *sequence.psf)]


def test_association_lists_every_file_with_its_role(sequence):
    association = json.loads(sequence.association.read_text())
    (product,) = association["products"]
    roles = {member["expname"]: member["exptype"] for member in product["members"]}
    assert roles == {
        **dict.fromkeys(sequence.science, "science"),
        **dict.fromkeys(sequence.psf, "psf"),
    }
    assert len(sequence.science) == 2
    assert len(sequence.psf) == SMALL["ref_dithers"]
    for path in files(sequence):
        assert path.name.startswith("jw09999")
        assert fits.getval(path, "IS_PSF") == (path.name in sequence.psf)


def test_files_are_valid_data_models(sequence):
    for path in files(sequence):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with CubeModel(path, strict_validation=True) as model:
                model.validate()
                nints = model.meta.exposure.nints
                assert model.shape == (nints, *SMALL["shape"])
                assert len(model.int_times) == nints
                assert model.meta.wcs.available_frames == [
                    "detector",
                    "v2v3",
                    "v2v3vacorr",
                    "world",
                ]
                assert model.meta.filename == path.name
                parts = model.var_poisson + model.var_rnoise + model.var_flat
                np.testing.assert_allclose(np.sqrt(parts), model.err, rtol=1e-5)


def test_fits_wcs_agrees_with_the_gwcs(sequence):
    y, x = np.mgrid[0:72:8, 0:64:8].astype(float)
    for path in files(sequence):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            header_wcs = WCS(fits.getheader(path, "SCI"), naxis=2)
        with CubeModel(path) as model:
            sky = header_wcs.all_pix2world(x, y, 0)
            there = model.meta.wcs.invert(*sky, with_bounding_box=False)
        assert np.hypot(there[0] - x, there[1] - y).max() < 0.01


def test_star_is_where_the_wcs_says(sequence, truth):
    for record in truth["exposures"]:
        with CubeModel(sequence.association.parent / record["file"]) as model:
            ra, dec = model.meta.wcs(*record["star_xy_by_wcs"])
            assert ra == pytest.approx(record["ra"], abs=1e-9)
            assert dec == pytest.approx(record["dec"], abs=1e-9)
            assert model.meta.target.ra == record["ra"]
        # jitter of 1.5 mas is a fortieth of a pixel; six sigma
        wander = np.array(record["star_xy"]) - record["star_xy_by_wcs"]
        assert np.abs(wander).max() < 0.15


def test_companion_is_at_one_place_on_the_sky(sequence, truth):
    companion = truth["companion"]
    places = []
    for record in truth["exposures"]:
        if record["is_psf"]:
            assert record["companion_xy_by_wcs"] is None
            continue
        with CubeModel(sequence.association.parent / record["file"]) as model:
            ra, dec = model.meta.wcs(*record["companion_xy_by_wcs"])
        assert (ra, dec) == pytest.approx((companion["ra"], companion["dec"]), abs=1e-9)
        image = read_truth_images(sequence.association.parent / record["images"]).companion
        y, x = np.unravel_index(image.argmax(), image.shape)
        # the coronagraph distorts it: a 4QPM by more than a pixel
        assert np.hypot(*(np.array([x, y]) - record["companion_xy_by_wcs"])) < 2
        places.append(record["companion_xy_by_wcs"])
    # ten degrees between the rolls move it on the detector
    assert np.hypot(*np.subtract(places[0], places[1])) > 1


def test_companion_has_its_separation_and_angle(truth):
    science = next(record for record in truth["exposures"] if not record["is_psf"])
    companion = truth["companion"]
    east = 3600 * (companion["ra"] - science["ra"]) * np.cos(np.deg2rad(science["dec"]))
    north = 3600 * (companion["dec"] - science["dec"])
    assert np.hypot(east, north) == pytest.approx(companion["separation_arcsec"], rel=1e-4)
    assert np.rad2deg(np.arctan2(east, north)) % 360 == pytest.approx(companion["pa_deg"], abs=0.01)


@pytest.mark.parametrize("instrument_name", ["nircam", "miri"])
def test_data_are_the_truth_plus_noise(tmp_path, instrument_name):
    # without jitter and drift all integrations show the same scene
    options = CoronSimulation(
        instrument=instrument_name,
        **{**SMALL, "ref_dithers": 1, "nsci": 1},
        jitter=0.0,
        wavefront_drift=0.0,
        background=0.5,
    )
    made = simulate_coron3(tmp_path, options)
    for record in json.loads(made.truth.read_text())["exposures"]:
        images = read_truth_images(tmp_path / record["images"])
        with CubeModel(tmp_path / record["file"]) as model:
            good = (model.dq & 1) == 0
            data, err = model.data.astype(float), model.err.astype(float)
        pull = (data - images.cosmic_rays - images.star - images.companion - 0.5) / err
        # 4000 to 14000 pixels
        assert pull[good].std() == pytest.approx(1.0, abs=0.05)
        assert pull[good].mean() == pytest.approx(0.0, abs=0.05)
        assert np.all(images.companion == 0) == record["is_psf"]


def test_the_seed_decides(tmp_path):
    small = {**SMALL, "nints": 2, "ref_nints": 1, "ref_dithers": 1, "nsci": 1}

    def first_data(name, seed):
        made = simulate_coron3(tmp_path / name, CoronSimulation(seed=seed, **small))
        return fits.getdata(made.association.parent / made.science[0])

    one, same, other = first_data("a", 7), first_data("b", 7), first_data("c", 8)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(np.nan_to_num(one), np.nan_to_num(other))


@pytest.mark.parametrize("variances", ["missing", "empty"])
def test_variances_can_be_missing_or_empty(tmp_path, variances):
    options = CoronSimulation(
        **{**SMALL, "nints": 1, "ref_nints": 1, "ref_dithers": 1, "nsci": 1}, variances=variances
    )
    made = simulate_coron3(tmp_path, options)
    with fits.open(tmp_path / made.science[0]) as hdus:
        names = [hdu.name for hdu in hdus]
        for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            assert (name in names) == (variances == "empty")
            if variances == "empty":
                assert hdus[name].data is None
        assert hdus["ERR"].data.shape == hdus["SCI"].data.shape
    with CubeModel(tmp_path / made.science[0]) as model:
        assert model.err.shape == model.data.shape


def test_wcs_error_moves_what_the_wcs_says_not_the_star(tmp_path):
    small = {**SMALL, "nints": 1, "ref_nints": 1, "ref_dithers": 1, "companion_contrast": 0.0}
    truths = []
    for error in (0.0, 100.0):
        options = CoronSimulation(**small, wcs_error=error)
        made = simulate_coron3(tmp_path / str(error), options)
        truths.append(json.loads(made.truth.read_text())["exposures"])
    moves = [
        np.subtract(wrong["star_xy_by_wcs"], right["star_xy_by_wcs"])
        for right, wrong in zip(*truths, strict=True)
    ]
    assert [item["star_xy"] for item in truths[0]] == [item["star_xy"] for item in truths[1]]
    assert np.hypot(*np.transpose(moves)).max() > 0.3


def test_progress_counts_every_integration(tmp_path):
    seen = []
    options = CoronSimulation(**{**SMALL, "nsci": 1})
    simulate_coron3(tmp_path, options, progress=lambda *call: seen.append(call))
    total = 3 + 2 * 2
    assert [call[0] for call in seen] == list(range(1, total + 1))
    assert {call[1] for call in seen} == {total}
    assert seen[0][2].startswith("jw09999001001")


@pytest.mark.parametrize(
    "wrong", [{"instrument": "niriss"}, {"nints": 0}, {"ref_dithers": 10}, {"jitter": -1}]
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        CoronSimulation(**wrong)
