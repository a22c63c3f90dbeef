import warnings

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst.datamodels import PsfMaskModel

from webbalign.core.errors import InputError
from webbalign.core.psfmask import hole_weight, mask_centre
from webbalign.products.references import check_psfmask, make_psfmask, read_psfmask

FACTS = {
    "instrument": "NIRCAM", "filter": "F356W", "coronagraph": "MASKA335R",
    "subarray": "SUB320A335R", "shape": (64, 80), "center": (40.0, 30.0),
}  # fmt: skip


@pytest.fixture
def exposure(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update(
        INSTRUME="MIRI", DETECTOR="MIRIMAGE", FILTER="F1140C", CORONMSK="4QPM_1140",
        SUBARRAY="MASK1140", EXP_TYPE="MIR_4QPM", SUBSTRT1=1, SUBSTRT2=243, DATAMODL="CubeModel",
    )  # fmt: skip
    science = fits.ImageHDU(np.ones((2, 224, 288), np.float32), name="SCI")
    science.header.update(CRPIX1=120.75, CRPIX2=113.24)
    path = tmp_path / "x_calints.fits"
    fits.HDUList([primary, science]).writeto(path)
    return path


def test_what_is_made_is_valid_and_opens_as_the_data_model(tmp_path):
    path = make_psfmask(tmp_path / "mask.fits", **FACTS, radius=7.0, author="Somebody")
    assert check_psfmask(path) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with PsfMaskModel(path, strict_validation=True) as model:
            model.validate()
            assert model.data.shape == (64, 80)
            assert model.meta.filename == "mask.fits"
            assert model.meta.author == "Somebody"
            assert model.meta.instrument.coronagraph == "MASKA335R"
            assert model.meta.subarray.name == "SUB320A335R"
    mask = read_psfmask(path)
    np.testing.assert_allclose(mask.weight, hole_weight((64, 80), (40, 30), 7), atol=1e-6)
    assert mask.centre == pytest.approx((40, 30), abs=0.05)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mask.fits"]


def test_like_an_exposure(tmp_path, exposure):
    path = make_psfmask(tmp_path / "mask.fits", like=exposure, radius=5)
    assert check_psfmask(path) == []
    header = fits.getheader(path)
    assert (header["INSTRUME"], header["FILTER"], header["SUBARRAY"]) == (
        "MIRI",
        "F1140C",
        "MASK1140",
    )
    assert (header["SUBSTRT1"], header["SUBSTRT2"]) == (1, 243)
    assert read_psfmask(path).centre == pytest.approx((119.75, 112.24), abs=0.1)


def test_neither_radius_nor_image_takes_the_derived_weight(tmp_path, exposure):
    path = make_psfmask(tmp_path / "mask.fits", like=exposure, coronagraph="LYOT_2300")
    assert check_psfmask(path) == []
    assert mask_centre(fits.getdata(path, "SCI")) is not None


def test_from_an_image_file_and_from_an_array(tmp_path):
    weight = np.random.default_rng(0).random((64, 80)).astype(np.float32)
    fits.PrimaryHDU(weight).writeto(tmp_path / "w.fits")
    for source in (tmp_path / "w.fits", weight):
        path = make_psfmask(tmp_path / "mask.fits", **FACTS, from_image=source)
        np.testing.assert_allclose(read_psfmask(path).weight, weight, atol=1e-7)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"filter": None}, "FILTER"),
        ({"filter": "F999X"}, "F999X"),
        ({"coronagraph": "MASKX"}, "MASKX"),
        ({"instrument": "NIRISS"}, "NIRISS"),
        ({"pedigree": "yes"}, "PEDIGREE"),
        ({"useafter": "1 May 2022"}, "USEAFTER"),
        ({"shape": None}, "size"),
        ({"radius": 500.0}, "zero everywhere"),
        ({"from_image": np.ones((64, 80))}, "one of them"),
        ({"center": None, "coronagraph": "MASKA430R"}, "centre"),
    ],
)
def test_what_would_not_be_valid_is_refused(tmp_path, change, text):
    arguments = {**FACTS, "radius": 7.0, **change}
    with pytest.raises(InputError, match=text):
        make_psfmask(tmp_path / "mask.fits", **arguments)
    assert not (tmp_path / "mask.fits").exists()


def test_image_of_another_size(tmp_path):
    with pytest.raises(InputError, match=r"\(10, 10\).*\(64, 80\)"):
        make_psfmask(tmp_path / "mask.fits", **FACTS, from_image=np.ones((10, 10)))


def test_no_overwrite(tmp_path):
    path = make_psfmask(tmp_path / "mask.fits", **FACTS, radius=7.0)
    with pytest.raises(InputError, match="exists"):
        make_psfmask(path, **FACTS, radius=7.0, overwrite=False)


def damaged(tmp_path, damage):
    path = make_psfmask(tmp_path / "mask.fits", **FACTS, radius=7.0)
    with fits.open(path, mode="update") as hdulist:
        damage(hdulist)
    return path


def _set(keyword, value):
    return lambda hdulist: hdulist[0].header.set(keyword, value)


def _data(change):
    def damage(hdulist):
        hdulist["SCI"].data = change(hdulist["SCI"].data)

    return damage


def _nan(data):
    data[0, 0] = np.nan
    return data


@pytest.mark.parametrize(
    "damage, where, words",
    [
        (lambda h: h[0].header.remove("AUTHOR"), "AUTHOR", "missing"),
        (_set("DESCRIP", ""), "DESCRIP", "missing"),
        (_set("DATAMODL", "ImageModel"), "DATAMODL", "PsfMaskModel"),
        (_set("REFTYPE", "FLAT"), "REFTYPE", "PSFMASK"),
        (_set("TELESCOP", "HST"), "TELESCOP", "JWST"),
        (_set("INSTRUME", "NIRSPEC"), "INSTRUME", "MIRI or NIRCAM"),
        (_set("FILTER", "F1"), "FILTER", "F356W"),
        (_set("CORONMSK", "BLOB"), "CORONMSK", "MASKA335R"),
        (_set("SUBARRAY", "SUB1"), "SUBARRAY", "MASK1140"),
        (_set("USEAFTER", "2022-05-01"), "USEAFTER", "yyyy"),
        (_set("USEAFTER", "2022-13-01T00:00:00"), "USEAFTER", "yyyy"),
        (_set("PEDIGREE", "INFLIGHT 2022"), "PEDIGREE", "GROUND"),
        (_set("SUBSIZE1", 81), "SUBSIZE", "SCI is 80 x 64"),
        (_data(_nan), "SCI", "not finite"),
        (_data(lambda d: d * 2), "SCI", "values from 0 to 2"),
        (_data(lambda d: d * 0), "SCI", "zero everywhere"),
        (_data(lambda d: d[None]), "SCI", "3 dimensions"),
        (_data(lambda d: d.astype(np.int16)), "SCI", "int16"),
        (lambda h: h.append(fits.ImageHDU(np.ones((2, 2)), name="ERR")), "extension ERR", "SCI"),
        (lambda h: h["SCI"].header.set("EXTNAME", "MASK"), "SCI", "0 times"),
    ],
)
def test_each_damage_is_told_by_one_problem_at_its_place(tmp_path, damage, where, words):
    problems = check_psfmask(damaged(tmp_path, damage))
    text = [str(problem) for problem in problems if problem.where.startswith(where)]
    assert len(text) == 1
    assert words in text[0]


def test_data_in_the_primary_hdu(tmp_path):
    fits.PrimaryHDU(np.ones((4, 4), np.float32)).writeto(tmp_path / "a.fits")
    places = [problem.where for problem in check_psfmask(tmp_path / "a.fits")]
    assert "primary HDU" in places
    assert "SCI" in places
    assert "CORONMSK" in places


def test_files_that_cannot_be_read(tmp_path):
    assert "exist" in str(check_psfmask(tmp_path / "none.fits")[0])
    (tmp_path / "text.fits").write_text("no FITS")
    assert "not readable" in str(check_psfmask(tmp_path / "text.fits")[0])
    for name in ("none.fits", "text.fits"):
        with pytest.raises(InputError, match=name):
            read_psfmask(tmp_path / name)


def test_reading_a_file_without_sci(tmp_path):
    fits.PrimaryHDU(np.ones((4, 4), np.float32)).writeto(tmp_path / "a.fits")
    with pytest.raises(InputError, match="SCI"):
        read_psfmask(tmp_path / "a.fits")
