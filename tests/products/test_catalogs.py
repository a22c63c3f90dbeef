"""Catalogs go to files and back in full precision, and become star lists."""

import math
from dataclasses import replace

import asdf
import numpy as np
import pytest
from astropy.table import Table

from tests.products.images import make_model
from webbalign.core.errors import InputError, OptionError
from webbalign.products.catalogs import (
    CatalogFiles,
    StarCatalog,
    catalog_name,
    read_catalog,
    read_catalog_image,
    star_list,
    write_catalog,
)
from webbalign.products.image_files import read_info

RNG = np.random.default_rng(3)
XY = RNG.uniform(0, 63, (12, 2))
COLUMNS = {
    "x": XY[:, 0], "y": XY[:, 1], "flux": RNG.uniform(1, 9, 12),
    "x_err": np.full(12, 0.01), "y_err": np.full(12, 0.03), "sharpness": RNG.random(12),
}  # fmt: skip


@pytest.fixture(scope="module")
def info():
    return read_info(make_model())


@pytest.mark.parametrize("kind", ["ecsv", "fits"])
def test_there_and_back(tmp_path, info, kind):
    path = tmp_path / catalog_name(info.name, kind)
    write_catalog(COLUMNS, info, path, group="g1", fwhm=2.25)
    catalog = read_catalog(path)
    np.testing.assert_array_equal(catalog.xy, XY)
    np.testing.assert_array_equal(catalog.flux, COLUMNS["flux"])
    np.testing.assert_allclose(catalog.sigma, math.sqrt((0.01**2 + 0.03**2) / 2))
    assert (catalog.weight == 1).all()
    assert catalog.fwhm == 2.25
    assert catalog.meta["image"] == info.name
    table = Table.read(path)
    assert table.colnames[:4] == ["id", "xcentroid", "ycentroid", "flux"]
    np.testing.assert_array_equal(table["sharpness"], COLUMNS["sharpness"])


def test_the_image_is_kept_beside_its_catalog(tmp_path, info):
    path = write_catalog(COLUMNS, info, tmp_path / "a_cat.ecsv", group="g1")
    other, group = read_catalog_image(path, read_catalog(path))
    assert group == "g1"
    assert (other.name, other.shape, other.epoch) == (info.name, info.shape, info.epoch)
    assert other.observation == info.observation
    assert other.wcsinfo == info.wcsinfo
    assert (other.instrument, other.filter) == ("NIRCAM", "F200W")
    assert other.wcs(3.0, 4.0) == info.wcs(3.0, 4.0)


def test_an_empty_catalog_is_a_catalog(tmp_path, info):
    path = write_catalog({"x": [], "y": [], "flux": []}, info, tmp_path / "a_cat.ecsv", group="g")
    assert len(read_catalog(path)) == 0
    assert len(star_list(read_catalog(path), info, "g")) == 0


def test_a_catalog_is_replaced_unless_it_may_not_be(tmp_path, info):
    path = write_catalog(COLUMNS, info, tmp_path / "a_cat.ecsv", group="g")
    write_catalog({"x": [1.0], "y": [2.0]}, info, path, group="g")
    assert len(read_catalog(path)) == 1
    with pytest.raises(InputError, match="exists already"):
        write_catalog(COLUMNS, info, path, group="g", overwrite=False)


@pytest.mark.parametrize(
    "names", [("x", "y"), ("xcentroid", "ycentroid"), ("XCENTROID", "YCENTROID"), ("X", "Y"),
              ("x_centroid", "y_centroid")],
)  # fmt: skip
@pytest.mark.parametrize("file", ["a.ecsv", "a.fits", "a.csv", "a.txt", "a.dat", "a.vot"])
def test_custom_catalogs_in_any_format_and_case(tmp_path, names, file):
    table = Table({names[0]: XY[:, 0], names[1]: XY[:, 1], "weight": np.arange(12.0)})
    kind = {"txt": "ascii.commented_header", "dat": "ascii", "vot": "votable"}
    table.write(tmp_path / file, format=kind.get(file[2:]))
    catalog = read_catalog(tmp_path / file)
    np.testing.assert_allclose(catalog.xy, XY)
    np.testing.assert_array_equal(catalog.weight, np.arange(12.0))
    assert np.isnan(catalog.flux).all()
    assert np.isnan(catalog.sigma).all()
    assert math.isnan(catalog.fwhm)


def test_a_real_catalog(data_folder):
    catalog = read_catalog(data_folder / "misc_refcats" / "ngc0628_agb_cat.fits")
    assert len(catalog) == 274


def test_rows_without_position_are_left_out(tmp_path, caplog):
    table = Table({"x": [1.0, np.nan, 3.0], "y": [1.0, 2.0, 3.0]}, masked=True)
    table["y"].mask[2] = True
    table.write(tmp_path / "a.ecsv")
    assert read_catalog(tmp_path / "a.ecsv").xy.tolist() == [[1.0, 1.0]]
    assert "2 rows" in caplog.text


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such file"),
        ("", "not readable as a table"),
        ("ra dec\n1 2\n", "columns ra, dec - .* - give x and y"),
        ("x y\n1 two\n", "column y"),
        ("x y weight\n1 2 -1\n", "weight"),
        ("<html><body>nothing</body></html>", "columns|not readable"),
    ],
)
def test_what_is_no_catalog_is_named(tmp_path, content, message):
    path = tmp_path / "stars.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_catalog(path)
    assert "stars.txt" in str(error.value)


def test_a_catalog_without_image_cannot_be_solved(tmp_path, info):
    Table({"x": [1.0], "y": [2.0]}).write(tmp_path / "mine.ecsv")
    with pytest.raises(InputError, match="wcs_file"):
        read_catalog_image(tmp_path / "mine.ecsv", read_catalog(tmp_path / "mine.ecsv"))
    path = write_catalog(COLUMNS, info, tmp_path / "a_cat.ecsv", group="g")
    path.with_suffix(".asdf").write_text("nonsense")
    with pytest.raises(InputError, match="not readable .* - .*a_cat.asdf - "):
        read_catalog_image(path, read_catalog(path))
    path.with_suffix(".asdf").unlink()
    with pytest.raises(InputError, match="a_cat.asdf, which it names, does not exist - "):
        read_catalog_image(path, read_catalog(path))


def catalog_at(xy, **more):
    n = len(xy)
    values = {"sigma": np.full(n, 0.1), "flux": np.arange(n) * 1.0, "weight": np.ones(n)} | more
    return StarCatalog("a.ecsv", np.asarray(xy, float), **values)


def test_a_star_list_lies_on_the_sky_where_the_wcs_says(info):
    stars = star_list(catalog_at(XY, fwhm=2.0), info, "g")
    sky = np.stack(info.wcs(*XY.T), axis=-1)
    np.testing.assert_allclose(stars.sky, sky, atol=1e-10)
    assert stars.pixel_scale == pytest.approx(0.0312, rel=0.01)
    np.testing.assert_allclose(stars.sigma, 0.1 * stars.pixel_scale)
    assert stars.fwhm == pytest.approx(2.0 * stars.pixel_scale)
    assert (stars.name, stars.group) == (info.name, "g")


def test_stars_beside_the_image_are_left_out(info):
    stars = star_list(catalog_at([[5, 5], [-3, 5], [5, 90], [79.4, 63.4]]), info, "g")
    assert stars.flux.tolist() == [0.0, 3.0]


def test_the_bounding_box_decides_though_the_array_is_small(info):
    (x0, x1), (y0, y1) = info.wcs.bounding_box.bounding_box(order="F")
    inside = catalog_at([[x1 - 1, y1 - 1], [x0 + 1, y0 + 1], [x1 + 1, y0]])
    assert len(star_list(inside, replace(info, shape=(8, 8)), "g")) == 2


def test_the_width_of_a_star_is_that_of_the_catalog_else_of_the_caller(info):
    scale = star_list(catalog_at(XY), info, "g").pixel_scale
    for given, told, expected in ((1.5, 3.0, 1.5), (math.nan, 3.0, 3.0), (math.nan, None, 2.5)):
        stars = star_list(catalog_at(XY, fwhm=given), info, "g", fwhm=told)
        assert stars.fwhm == pytest.approx(expected * scale)


def test_unknown_formats_are_refused():
    with pytest.raises(OptionError, match="catalog_format"):
        CatalogFiles(catalog_format="hdf5")


def test_what_lies_beside_a_catalog_does_not_depend_on_the_process(tmp_path, info):
    path = write_catalog(COLUMNS, info, tmp_path / "a_cat.ecsv", group="g").with_suffix(".asdf")
    with asdf.open(path) as file:
        listed = [str(item["extension_class"]) for item in file["history"]["extensions"]]
        assert "image" in file.tree
    assert len(listed) > 1
    assert listed == sorted(listed)
    assert str(tmp_path).encode() not in path.read_bytes()
    other = write_catalog(COLUMNS, info, tmp_path / "b" / "a_cat.ecsv", group="g")
    assert other.with_suffix(".asdf").read_bytes() == path.read_bytes()
