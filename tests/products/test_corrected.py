"""Products differ from their inputs in the WCS and in nothing else."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from stdatamodels.jwst.datamodels import ImageModel

from tests.products.images import SHAPE, make_model, write_image
from webbalign.core.errors import InputError
from webbalign.products.atomic import PARTIAL
from webbalign.products.corrected import correct_model, save_corrected
from webbalign.products.corrector import Correction, corrected_wcs, image_plane
from webbalign.products.image_files import read_info
from webbalign.products.sip import SipApproximation

CORRECTION = Correction(np.array([[1.0, -1e-3], [1e-3, 1.0]]), np.array([0.4, -0.7]))
X, Y = np.random.default_rng(0).uniform(0, 63, (2, 60))


@pytest.fixture
def path(tmp_path):
    return write_image(tmp_path)


@pytest.fixture
def product(path, tmp_path):
    """A corrected image."""
    target = tmp_path / "out" / "jw_tweakreg.fits"
    done = save_corrected(path, target, CORRECTION, history=["aligned", "with care"])
    assert done.path == target
    return target


def expected_sky(path, correction=CORRECTION):
    info = read_info(path)
    image = image_plane(info.wcs, info.wcsinfo, info.shape)
    return image.plane.to_sky(correction.apply(image.from_pixels(np.stack([X, Y], -1)))).T


def test_the_gwcs_is_corrected_for_every_reader(path, product):
    with ImageModel(product) as model:
        np.testing.assert_allclose(model.meta.wcs(X, Y), expected_sky(path), atol=1e-10)
        assert model.meta.cal_step.tweakreg == "COMPLETE"
        assert model.meta.filename == product.name
        model.validate()


def test_the_arrays_are_the_same_to_the_bit(path, product):
    with fits.open(path) as old, fits.open(product) as new:
        assert [hdu.name for hdu in old] == [hdu.name for hdu in new]
        for before in old[1:-1]:
            after = new[before.name]
            assert before.data.tobytes() == after.data.tobytes()
            assert before.data.dtype == after.data.dtype
        new.verify("exception")


def test_only_what_concerns_the_wcs_changes_in_the_headers(path, product):
    with fits.open(path) as old, fits.open(product) as new:
        primary = fits.HeaderDiff(old[0].header, new[0].header)
        changed = {*primary.diff_keyword_values, *primary.diff_keywords[1]}
        assert changed <= {"FILENAME", "DATE", "S_TWKREG", "HISTORY"}
        assert list(new[0].header["HISTORY"]) == ["aligned", "with care"]
        science = fits.HeaderDiff(old["SCI"].header, new["SCI"].header)
        for keyword in ("RA_REF", "ROLL_REF", "V2_REF", "VELOSYS", "BUNIT", "CRPIX1"):
            assert keyword not in science.diff_keyword_values
        for keyword in ("S_REGION", "CRVAL1", "CD1_1"):
            assert keyword in science.diff_keyword_values


def test_header_and_region_agree_with_the_gwcs(path, product):
    header = fits.getheader(product, "SCI")
    ra, dec = expected_sky(path)
    x, y = WCS(header, relax=True).all_world2pix(ra, dec, 0)
    assert np.hypot(x - X, y - Y).max() < header["SIPMXERR"] + 1e-5
    assert 0 <= header["SIPIVERR"] < 0.01
    region = [float(word) for word in header["S_REGION"].split()[2:]]
    info = read_info(product)
    corners = info.wcs([-0.5, -0.5, 79.5, 79.5], [-0.5, 63.5, 63.5, -0.5], with_bounding_box=False)
    np.testing.assert_allclose(region, np.stack(corners, -1).ravel(), atol=1e-8)


def test_the_data_model_reads_the_stated_errors_and_keeps_them(product, tmp_path):
    with ImageModel(product) as model:
        model.save(str(tmp_path / "again.fits"))
    before, after = fits.getheader(product, "SCI"), fits.getheader(tmp_path / "again.fits", "SCI")
    for keyword in ("SIPMXERR", "SIPIVERR", "AP_0_1", "BP_1_0", "CD2_1", "A_2_0"):
        assert after[keyword] == before[keyword]


def test_a_second_run_composes(path, product, tmp_path):
    second = Correction(np.array([[0.999, 0.0], [0.0, 1.0]]), np.array([1.0, 0.0]))
    save_corrected(product, tmp_path / "twice.fits", second)
    both = expected_sky(path, second.after(CORRECTION))
    np.testing.assert_allclose(read_info(tmp_path / "twice.fits").wcs(X, Y), both, atol=1e-9)
    keywords = [key for key in fits.getheader(tmp_path / "twice.fits", "SCI") if key]
    assert len(keywords) == len(set(keywords))


def test_without_correction_the_gwcs_stays_and_the_header_is_renewed(path, tmp_path):
    fits.setval(path, "CRVAL1", value=10.0, extname="SCI")
    fits.setval(path, "S_REGION", value="POLYGON ICRS 1 2 3 4 5 6 7 8", extname="SCI")
    save_corrected(path, tmp_path / "same.fits", None, status="FAILED")
    before, after = read_info(path), read_info(tmp_path / "same.fits")
    np.testing.assert_array_equal(before.wcs(X, Y), after.wcs(X, Y))
    assert "v2v3corr" not in after.wcs.available_frames
    header = fits.getheader(tmp_path / "same.fits", "SCI")
    assert header["CRVAL1"] == pytest.approx(214.93, abs=0.01)
    assert not header["S_REGION"].startswith("POLYGON ICRS 1 2")
    assert fits.getheader(tmp_path / "same.fits")["S_TWKREG"] == "FAILED"


def test_keywords_of_a_former_fit_do_not_survive(path, tmp_path):
    with fits.open(path, mode="update") as hdulist:
        hdulist["SCI"].header["A_5_1"] = 1.0
        hdulist["SCI"].header["PC1_1"] = 1.0
        hdulist["SCI"].header["CHECKSUM"] = "wrong"
    save_corrected(path, tmp_path / "new.fits", CORRECTION)
    header = fits.getheader(tmp_path / "new.fits", "SCI")
    assert not {"A_5_1", "PC1_1", "CHECKSUM"} & set(header)
    with ImageModel(tmp_path / "new.fits") as model:
        assert model.meta.wcsinfo.pc1_1 is None


def test_the_catalog_that_was_used_is_named_in_the_header(path, product, tmp_path):
    named, cleared, kept = (tmp_path / f"{word}.fits" for word in ("named", "cleared", "kept"))
    save_corrected(path, named, CORRECTION, catalog="mine.ecsv")
    save_corrected(named, cleared, CORRECTION, catalog="")
    save_corrected(named, kept, CORRECTION)
    for file, expected in (
        (product, None), (named, "mine.ecsv"), (cleared, None), (kept, "mine.ecsv"),
    ):  # fmt: skip
        assert fits.getheader(file).get("TCATFILE") == expected
        with ImageModel(file) as model:
            assert model.meta.tweakreg_catalog == expected
    model = make_model()
    correct_model(model, CORRECTION, catalog="mine.ecsv")
    assert model.meta.tweakreg_catalog == "mine.ecsv"


def test_without_sip_the_header_is_linear(path, tmp_path):
    save_corrected(path, tmp_path / "new.fits", CORRECTION, sip=SipApproximation(sip_approx=False))
    header = fits.getheader(tmp_path / "new.fits", "SCI")
    assert header["CTYPE1"] == "RA---TAN"
    with ImageModel(tmp_path / "new.fits") as model:
        assert model.meta.wcsinfo.a_order is None


def test_a_compressed_file_gives_the_same_product(path, product, tmp_path):
    packed = tmp_path / "packed.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    save_corrected(packed, tmp_path / "other.fits", CORRECTION)
    with fits.open(product) as one, fits.open(tmp_path / "other.fits") as other:
        for before, after in zip(one[1:-1], other[1:-1], strict=True):
            assert before.data.tobytes() == after.data.tobytes()
            assert fits.HeaderDiff(before.header, after.header).identical
    np.testing.assert_array_equal(
        read_info(product).wcs(X, Y), read_info(tmp_path / "other.fits").wcs(X, Y)
    )


def test_a_model_in_memory_gives_the_same(path, product, tmp_path):
    model = make_model()
    done = save_corrected(model, tmp_path / "model.fits", CORRECTION, history="aligned")
    assert model.meta.filename == "model.fits"
    np.testing.assert_allclose(done.wcs(X, Y), expected_sky(path), atol=1e-10)
    one, other = fits.getheader(product, "SCI"), fits.getheader(tmp_path / "model.fits", "SCI")
    for keyword in ("CRVAL1", "CD1_2", "SIPMXERR", "SIPIVERR", "AP_1_0", "A_ORDER"):
        assert other[keyword] == pytest.approx(one[keyword], rel=1e-6, abs=1e-12)
    assert other["S_REGION"] == one["S_REGION"]


def test_a_model_corrected_twice_has_each_card_once():
    model = make_model()
    correct_model(model, CORRECTION)
    correct_model(model, CORRECTION)
    cards = [card[0] for card in model._instance["extra_fits"]["SCI"]["header"]]
    assert sorted(cards) == sorted(set(cards))
    once = corrected_wcs(make_model().meta.wcs, read_info(model).wcsinfo, CORRECTION)
    twice = corrected_wcs(once, read_info(model).wcsinfo, CORRECTION)
    np.testing.assert_allclose(model.meta.wcs(X, Y), twice(X, Y), atol=1e-10)


def test_an_input_is_never_replaced(path):
    before = path.read_bytes()
    with pytest.raises(InputError, match="would be replaced"):
        save_corrected(path, path, CORRECTION)
    assert path.read_bytes() == before


def test_an_existing_product_is_kept_on_request(path, product):
    with pytest.raises(InputError, match="exists already"):
        save_corrected(path, product, CORRECTION, overwrite=False)


def test_a_failure_leaves_nothing_behind(path, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("webbalign.products._patched_images._copy_range", fail)
    with pytest.raises(OSError, match="disk full"):
        save_corrected(path, tmp_path / "new.fits", CORRECTION)
    assert not (tmp_path / "new.fits").exists()
    assert not (tmp_path / PARTIAL).exists()


def test_where_the_system_cannot_copy_python_does(path, product, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError("not supported")

    monkeypatch.setattr("os.sendfile", refuse)
    save_corrected(path, tmp_path / "slow.fits", CORRECTION, history=["aligned", "with care"])
    slow, fast = (tmp_path / "slow.fits").read_bytes(), product.read_bytes()
    # the headers differ in name and date only
    assert len(slow) == len(fast)
    with fits.open(product) as one, fits.open(tmp_path / "slow.fits") as other:
        assert one["SCI"].data.tobytes() == other["SCI"].data.tobytes()
        assert one["SCI"].shape == SHAPE


def test_other_things_in_the_tree_are_untouched(tmp_path):
    model = make_model()
    model.meta.group_id = "mine"
    model._instance["notes"] = {"list": [1, 2.5e-7, True, "null", "1", "1e3"], "array": X}
    model.save(str(tmp_path / "a_cal.fits"))
    save_corrected(tmp_path / "a_cal.fits", tmp_path / "b.fits", CORRECTION)
    with ImageModel(tmp_path / "b.fits") as after:
        notes = after._instance["notes"]
        assert notes["list"] == [1, 2.5e-7, True, "null", "1", "1e3"]
        np.testing.assert_array_equal(notes["array"], X)
    assert read_info(tmp_path / "b.fits").group_id == "mine"
