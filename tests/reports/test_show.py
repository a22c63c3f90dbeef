"""A product as a picture: of every shape, and clear words for what cannot be shown."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.image import imread

from webbalign.core.errors import InputError, OptionError
from webbalign.reports.show import Picture, draw_product, save_product_picture


def write(path, shape, **header):
    rng = np.random.default_rng(1)
    science = fits.ImageHDU(rng.normal(10, 1, shape).astype("f4"), name="SCI")
    science.data[..., 3, 4] = np.nan
    science.header.update({"BUNIT": "MJy/sr"} | header)
    flags = np.zeros(shape, np.uint32)
    flags[..., 0, :] = 1
    flags[..., 1, :] = 4
    hdus = [fits.PrimaryHDU(), science, fits.ImageHDU(np.ones(shape, "f4"), name="ERR")]
    hdus[0].header["TARGPROP"] = "AU Mic"
    fits.HDUList([*hdus, fits.ImageHDU(flags, name="DQ")]).writeto(path)
    return path


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("shape", [(20, 30), (3, 20, 30), (2, 3, 20, 30)])
def test_data_errors_and_flags_stand_side_by_side(tmp_path, shape):
    figure = draw_product(write(tmp_path / "x_psfsub.fits", shape))
    assert titles(figure) == [
        "SCI, 1 pixels without value", "ERR", "DQ: 5 % DO_NOT_USE (red), 5 % others",
    ]  # fmt: skip
    words = figure.get_suptitle()
    assert words.startswith("x_psfsub.fits\nAU Mic")


def test_the_mean_is_shown_or_the_plane_that_is_asked_for(tmp_path):
    path = write(tmp_path / "x_psfalign.fits", (2, 3, 20, 30))
    cube = fits.getdata(path, "SCI").astype(float)

    def shown(**options):
        return np.asarray(draw_product(path, Picture(**options)).axes[0].images[0].get_array())

    np.testing.assert_allclose(shown()[5], cube.mean(axis=(0, 1))[5], rtol=1e-6)
    np.testing.assert_array_equal(shown(plane=(1, 2))[5], cube[1, 2, 5])
    # the colours change with the stretch, not the values
    np.testing.assert_allclose(shown(stretch="asinh")[5], cube.mean(axis=(0, 1))[5], rtol=1e-6)


def test_colours_hold_the_percentile(tmp_path):
    path = write(tmp_path / "x_i2d.fits", (50, 60))
    data = fits.getdata(path, "SCI")
    norm = draw_product(path, Picture(percentile=80)).axes[0].images[0].norm
    inside = np.mean((data >= norm.vmin) & (data <= norm.vmax))
    assert inside == pytest.approx(0.8, abs=0.01)


def test_axes_are_those_of_the_sky_where_the_header_knows_them(tmp_path):
    sky = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 10.0, "CRVAL2": -5.0,
           "CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -1e-5, "CD1_2": 0.0, "CD2_1": 0.0,
           "CD2_2": 1e-5}  # fmt: skip
    path = write(tmp_path / "x_psfsub.fits", (2, 20, 30), WCSAXES=3, CTYPE3="", **sky)
    axis = draw_product(path).axes[0]
    assert axis.wcs.wcs_pix2world(0, 0, 0) == pytest.approx([10.0, -5.0])


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_tells_the_format(tmp_path, suffix):
    path = write(tmp_path / "x_i2d.fits", (20, 30))
    target = save_product_picture(path, tmp_path / f"x.{suffix}")
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert target.read_bytes().startswith(starts[suffix])
    if suffix == "png":
        assert imread(target).std() > 0.1


def test_what_cannot_be_shown_is_said(tmp_path):
    path = write(tmp_path / "x_psfsub.fits", (3, 20, 30))
    with pytest.raises(OptionError, match="'plane' is 3 - give a plane of 3,"):
        draw_product(path, Picture(plane=(3,)))
    with pytest.raises(OptionError, match="'plane' is 0,1 - give a plane of 3,"):
        draw_product(path, Picture(plane=(0, 1)))
    with pytest.raises(OptionError, match="no suffix of a picture"):
        save_product_picture(path, tmp_path / "picture")
    with pytest.raises(OptionError, match="no suffix of a picture"):
        save_product_picture(path, path)
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "plain.fits")
    with pytest.raises(InputError, match=r"no SCI extension - .*plain\.fits - "):
        draw_product(tmp_path / "plain.fits")
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(InputError, match=r"not readable as FITS .* - .*text\.fits - "):
        draw_product(tmp_path / "text.fits")


def test_an_image_of_nan_is_drawn(tmp_path):
    path = tmp_path / "nan_i2d.fits"
    nothing = np.full((5, 6), np.nan, "f4")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(nothing, name="SCI")]).writeto(path)
    for stretch in ("percentile", "asinh"):
        assert titles(draw_product(path, Picture(stretch=stretch))) == [
            "SCI, 30 pixels without value"
        ]
