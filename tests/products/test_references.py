import json
import logging
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from stdatamodels.jwst.datamodels import CubeModel, PsfMaskModel

from webbalign.core.errors import InputError
from webbalign.core.psfmask import hole_weight
from webbalign.products.references import (
    check_psfmask,
    crds_parameters,
    find_parameters,
    find_psfmask,
    make_psfmask,
    read_psfmask,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"
CACHE = SHARED / "crds_offline_cache"
AU_MIC = SHARED / "winnie_aumic_f356w"
needs_cache = pytest.mark.skipif(not CACHE.is_dir(), reason=f"no CRDS cache in {CACHE}")
needs_au_mic = pytest.mark.skipif(not AU_MIC.is_dir(), reason=f"no AU Mic exposures in {AU_MIC}")

MIRI = {"name": "MIRI", "filter": "F1140C", "coronagraph": "4QPM_1140"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in [name for name in os.environ if name.startswith("CRDS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.setenv("CRDS_PATH", str(CACHE))


def exposure(
    *, name="NIRCAM", filter="F356W", coronagraph="MASKA335R", subarray="SUB320A335R",
    shape=(320, 320), star=(150.0, 174.0), corner=(492, 1502),
):  # fmt: skip
    model = CubeModel(np.ones((2, *shape), np.float32))
    model.meta.filename = "a_calints.fits"
    model.meta.instrument.name = name
    model.meta.instrument.filter = filter
    model.meta.instrument.coronagraph = coronagraph
    model.meta.subarray.name = subarray
    model.meta.subarray.xstart, model.meta.subarray.ystart = corner
    model.meta.exposure.type = "MIR_4QPM" if name == "MIRI" else "NRC_CORON"
    model.meta.observation.date, model.meta.observation.time = "2022-10-03", "06:25:46.792"
    model.meta.wcsinfo.crpix1, model.meta.wcsinfo.crpix2 = star[0] + 1, star[1] + 1
    model.dq = np.zeros((2, *shape), np.uint32)
    return model


def miri(**changes):
    facts = {
        "subarray": "MASK1140",
        "shape": (224, 288),
        "star": (119.75, 112.24),
        "corner": (1, 243),
    }
    return exposure(**{**MIRI, **facts, **changes})


def mask_file(tmp_path, weight, **changes):
    facts = {"instrument": "NIRCAM", "filter": "F356W", "coronagraph": "MASKA335R",
             "subarray": "SUB320A335R", **changes}  # fmt: skip
    return make_psfmask(tmp_path / "mask.fits", from_image=weight, **facts)


# Without a file ---------------------------------------------------------------------------------


def test_without_crds_the_weight_is_derived():
    model = exposure()
    model.dq[:, :20] = 512
    model.data[:, 25, 30] = np.nan
    mask = find_psfmask(model)
    assert (mask.source, mask.name) == ("derived", "derived")
    assert not mask.weight[:20].any()
    assert mask.weight[25, 30] == 0
    assert mask.weight[174, 150] < 1e-6
    assert mask.centre == (150, 174)
    assert "derived" in mask.messages[0]
    assert mask.fraction == pytest.approx(300 / 320, abs=0.001)


def test_na_means_that_none_applies():
    assert find_psfmask(exposure(), "N/A") is None


@needs_cache
def test_derived_can_be_asked_for(cache):
    assert find_psfmask(exposure(), "derived").source == "derived"


# Overrides --------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["weight", "masked"])
def test_override_by_file_and_by_model(tmp_path, convention):
    weight = hole_weight((320, 320), (150, 174), 8)
    values = weight if convention == "weight" else 1 - weight
    path = mask_file(tmp_path, values)
    model = PsfMaskModel(data=values.astype(np.float32))
    model.meta.filename = "m.fits"
    for override in (path, str(path), model):
        mask = find_psfmask(exposure(), override, convention)
        assert (mask.source, mask.convention) == ("override", convention)
        np.testing.assert_allclose(mask.weight, weight, atol=1e-6)
        assert mask.messages == ()
    assert mask.name == "m.fits"


def test_a_mask_beside_the_star_is_used_with_a_loud_warning(tmp_path):
    path = mask_file(tmp_path, hole_weight((320, 320), (159.5, 159.5), 8))
    mask = find_psfmask(exposure(), path)
    assert "NOT ON THE STAR" in mask.messages[0]
    assert "17.3 px" in mask.messages[0]
    assert mask.weight[160, 160] == 0
    near = mask_file(tmp_path, hole_weight((320, 320), (154, 174), 8))
    assert find_psfmask(exposure(), near).messages == ()


def test_another_size_names_both(tmp_path):
    path = mask_file(tmp_path, np.ones((300, 320)))
    with pytest.raises(InputError, match=r"300 rows.*a_calints\.fits 320 rows.* - mask\.fits - "):
        find_psfmask(exposure(), path)


def test_a_larger_mask_is_cut_where_its_keywords_say(tmp_path):
    whole = np.random.default_rng(0).random((400, 500))
    path = mask_file(tmp_path, whole, corner=(450, 1490))
    mask = find_psfmask(exposure(), path)
    np.testing.assert_allclose(mask.weight, whole[12:332, 42:362], atol=1e-7)
    assert "column 42, row 12" in mask.messages[0]


@pytest.mark.parametrize("corner", [(500, 1490), (450, 1600), None])
def test_a_larger_mask_that_does_not_cover_the_exposure(tmp_path, corner):
    path = mask_file(tmp_path, np.ones((400, 360)), corner=corner)
    with pytest.raises(InputError, match="SUBSTRT"):
        find_psfmask(exposure(), path)


def test_override_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"no such file - .*none\.fits - "):
        find_psfmask(exposure(), tmp_path / "none.fits")


def test_weight_zero_everywhere_names_the_file(tmp_path):
    path = mask_file(tmp_path, np.ones((320, 320)))
    with pytest.raises(InputError, match=r"zero everywhere.* - mask\.fits - "):
        find_psfmask(exposure(), path, "masked")


# CRDS -------------------------------------------------------------------------------------------


@needs_cache
@pytest.mark.parametrize(
    "model, name",
    [
        (exposure(), "jwst_nircam_psfmask_0019.fits"),
        (exposure(filter="F300M"), "jwst_nircam_psfmask_0054.fits"),
        (exposure(coronagraph="MASK335R"), "jwst_nircam_psfmask_0019.fits"),
        (miri(), "jwst_miri_psfmask_0010.fits"),
    ],
)
def test_selection_by_keywords(cache, model, name):
    mask = find_psfmask(model)
    assert (mask.source, mask.name) == ("crds", name)
    assert mask.weight.shape == model.data.shape[-2:]


@needs_cache
def test_the_nircam_mask_of_crds_is_not_on_the_star(cache):
    assert "17.3 px" in find_psfmask(exposure()).messages[0]


@needs_cache
def test_no_rule_for_this_filter(cache):
    assert find_psfmask(exposure(filter="F210M", coronagraph="MASKA210R")).source == "derived"


@needs_cache
def test_the_other_name_of_a_mask_is_told(cache, caplog):
    with caplog.at_level(logging.INFO, logger="webbalign"):
        find_psfmask(exposure(coronagraph="MASK335R"))
    assert "MASKA335R is another name" in caplog.text


@needs_cache
def test_context_by_environment(cache, monkeypatch):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_9001.pmap")
    assert find_psfmask(miri()).source == "crds"
    # a symbolic one cannot be resolved offline: what the cache knows is taken
    monkeypatch.setenv("CRDS_CONTEXT", "jwst-latest")
    assert find_psfmask(miri()).source == "crds"


@pytest.mark.parametrize("content", [{}, {"config/jwst/server_config": "no dictionary"}])
def test_a_broken_cache_is_a_warning_not_the_end(tmp_path, monkeypatch, caplog, content):
    for name, text in content.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setenv("CRDS_PATH", str(tmp_path))
    assert find_psfmask(exposure()).source == "derived"
    assert str(tmp_path) in caplog.text


@needs_cache
def test_a_context_that_the_cache_lacks(cache, monkeypatch, caplog):
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    assert find_psfmask(exposure()).source == "derived"
    assert "jwst_0001.pmap" in caplog.text


@needs_cache
def test_a_reference_that_the_cache_does_not_hold(tmp_path, monkeypatch, caplog):
    for part in ("config", "mappings"):
        shutil.copytree(CACHE / part, tmp_path / part)
    monkeypatch.setenv("CRDS_PATH", str(tmp_path))
    assert find_psfmask(miri()).source == "derived"
    assert "does not hold" in caplog.text


@needs_cache
def test_parameters_of_steps(cache):
    parameters = crds_parameters(miri())
    assert find_parameters("pars-klipstep", parameters).name == "jwst_miri_pars-klipstep_9001.asdf"
    assert find_parameters("pars-alignrefsstep", parameters) is None
    assert find_parameters("pars-klipstep", crds_parameters(exposure())) is None
    assert find_parameters("pars-klipstep", {}) is None


def test_without_crds_path_there_are_no_parameters():
    assert find_parameters("pars-klipstep", crds_parameters(miri())) is None


def test_parameters_of_a_data_set(tmp_path):
    model = miri()
    model.save(tmp_path / "a_calints.fits")
    members = [
        {"expname": "b_calints.fits", "exptype": "psf"},
        {"expname": "a_calints.fits", "exptype": "science"},
    ]
    asn = tmp_path / "x_asn.json"
    asn.write_text(json.dumps({"products": [{"name": "x", "members": members}]}))
    path = tmp_path / "a_calints.fits"
    for dataset in (model, path, str(path), asn, [str(path)]):
        values = crds_parameters(dataset)
        assert values["meta.instrument.filter"] == "F1140C"
        assert values["meta.exposure.type"] == "MIR_4QPM"
        assert values["meta.observation.date"] == "2022-10-03"


@pytest.mark.parametrize("dataset", ["nowhere.fits", "nowhere.json", None, [], {"products": []}])
def test_parameters_of_nothing(dataset):
    assert crds_parameters(dataset) == {}


# Real files -------------------------------------------------------------------------------------


@needs_cache
def test_real_reference_files_are_valid():
    files = sorted((CACHE / "references").glob("jwst/*/*psfmask*.fits"))
    assert len(files) >= 5
    for path in files:
        assert check_psfmask(path) == []
        assert 0.5 < read_psfmask(path).fraction < 1


@needs_cache
def test_centres_of_real_masks():
    def centre(name):
        return read_psfmask(next((CACHE / "references").glob(f"jwst/*/{name}"))).centre

    assert centre("jwst_nircam_psfmask_0019.fits") == pytest.approx((159.5, 159.5), abs=0.01)
    assert centre("jwst_miri_psfmask_0009.fits") == pytest.approx((144, 164), abs=0.01)
    assert centre("jwst_nircam_psfmask_0003.fits") is None  # a bar
    assert centre("jwst_miri_psfmask_0010.fits") is None  # no hole


@needs_au_mic
def test_real_exposure_with_the_mask_of_its_authors():
    (path,) = AU_MIC.glob("*_psfmask.fits.gz")
    mask = read_psfmask(path)
    assert mask.centre == pytest.approx((149.87, 174.12), abs=0.05)
    # the derived weight, made without that file, agrees with it about the star
    derived = find_psfmask(exposure(), "derived").weight
    near = np.s_[160:189, 136:165]
    assert np.abs(derived[near] - mask.weight[near]).max() < 0.06
