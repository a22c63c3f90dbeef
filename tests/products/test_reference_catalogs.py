"""Astrometric catalogs of every kind become stars with positions, motions and weights."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.core.starlists import StarList
from webbalign.products import reference_catalogs
from webbalign.products.reference_catalogs import (
    AbsoluteCatalog,
    field_circle,
    load_reference,
    read_reference_catalog,
    saved_name,
    write_reference_catalog,
)

RA, DEC = np.array([150.0, 150.01, 150.02]), np.array([40.0, 40.01, 40.02])


def written(tmp_path, name="ref.ecsv", **columns):
    Table(columns or {"RA": RA, "DEC": DEC}).write(tmp_path / name)
    return tmp_path / name


def image(ra, dec, size=60.0):
    half = size / 2
    return StarList(
        name=f"{ra}", group="g", plane=TangentPlane.about(ra, dec), xy=np.zeros((0, 2)),
        sigma=np.zeros(0), flux=np.zeros(0), weight=np.zeros(0), pixel_scale=0.03, fwhm=0.06,
        outline=np.array([[-half, -half], [-half, half], [half, half], [half, -half]]),
    )  # fmt: skip


@pytest.mark.parametrize("names", [("RA", "DEC"), ("ra", "dec"), ("Ra", "dEc")])
@pytest.mark.parametrize("file", ["ref.ecsv", "ref.fits", "ref.csv"])
def test_positions_in_any_case_and_format(tmp_path, names, file):
    stars = read_reference_catalog(written(tmp_path, file, **{names[0]: RA, names[1]: DEC}))
    np.testing.assert_array_equal(stars.sky, np.stack([RA, DEC], -1))
    assert not stars.moves
    assert (stars.weight == 1).all()
    assert np.isnan(stars.magnitude).all()


def test_sky_centroid_in_any_frame(tmp_path):
    centroid = SkyCoord(RA * u.deg, DEC * u.deg).galactic
    stars = read_reference_catalog(written(tmp_path, sky_centroid=centroid))
    np.testing.assert_allclose(stars.sky, np.stack([RA, DEC], -1), atol=1e-9)


def test_units_are_converted(tmp_path):
    path = written(tmp_path, ra=(RA / 15) * u.hourangle, dec=DEC * 60 * u.arcmin)
    np.testing.assert_allclose(read_reference_catalog(path).sky, np.stack([RA, DEC], -1))


def test_everything_that_gaia_has(tmp_path):
    path = written(
        tmp_path, ra=RA, dec=DEC, ref_epoch=np.full(3, 2016.0), pmra=[1.0, 2, 3],
        pmdec=[4.0, 5, 6], parallax=[0.1, 0.2, 0.3], ra_error=[3.0, 3, 3], dec_error=[4.0, 4, 4],
        pmra_error=[0.1] * 3, pmdec_error=[0.1] * 3, parallax_error=[0.05] * 3,
        phot_g_mean_mag=[18.0, 99.0, -99.0], weight=[1.0, 0.5, 0.0],
    )  # fmt: skip
    stars = read_reference_catalog(path)
    np.testing.assert_array_equal(stars.motion, [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_allclose(stars.sigma, np.sqrt(12.5) * 1e-3)
    np.testing.assert_allclose(stars.motion_sigma, 0.1)
    np.testing.assert_array_equal(stars.parallax, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(stars.magnitude, [18.0, np.nan, np.nan])
    np.testing.assert_array_equal(stars.weight, [1.0, 0.5, 0.0])
    assert stars.moves


def test_the_epoch_may_stand_in_the_metadata(tmp_path):
    table = Table({"RA": RA, "DEC": DEC, "pmra": RA, "pmdec": RA}, meta={"Ref_Epoch": 2015.5})
    table.write(tmp_path / "ref.ecsv")
    assert (read_reference_catalog(tmp_path / "ref.ecsv").epoch == 2015.5).all()


def test_real_files(data_folder):
    ceers = data_folder / "ceers_tweakreg" / "CEERS_EGS_HST_v1.9_cat_radecmag.ecsv"
    stars = read_reference_catalog(ceers)
    assert len(stars) == 40408
    assert np.nanmax(stars.magnitude) < 90
    gaia = read_reference_catalog(data_folder / "gaia_dr3" / "Gaia_DR3_NGC7320.fits")
    assert len(gaia) == 1153
    assert (gaia.epoch == 2016.0).all()
    assert 0 < np.isnan(gaia.motion).any(axis=1).sum() < 1153
    assert 1e-5 < np.nanmedian(gaia.sigma) < 1e-2
    lmc = read_reference_catalog(data_folder / "misc_refcats" / "jwst_tweakreg_tests_ref.ecsv")
    assert len(lmc) == 2000


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"x": RA, "y": DEC}, "columns x, y - .* - give RA and DEC"),
        ({"RA": ["a", "b", "c"], "DEC": DEC}, "column RA"),
        ({"RA": RA, "DEC": DEC + 60}, "position of RA"),
        ({"RA": RA * np.nan, "DEC": DEC}, "no star in 3 rows"),
        ({"RA": RA, "DEC": DEC, "pmra": RA, "pmdec": RA}, "no epoch"),
        ({"RA": RA, "DEC": DEC, "weight": [1.0, -1.0, 1.0]}, "weight"),
        ({"RA": RA * u.m, "DEC": DEC}, "column RA"),
    ],
)
def test_what_is_no_catalog(tmp_path, columns, message):
    with pytest.raises(InputError, match=message) as error:
        read_reference_catalog(written(tmp_path, **columns))
    assert "ref.ecsv" in str(error.value)


def test_the_field_holds_all_outlines():
    lists = [image(150.0, 40.0), image(150.1, 40.05)]
    centre, radius = field_circle(lists)
    plane = TangentPlane.about(*centre)
    corners = np.concatenate([plane.from_vectors(i.plane.to_vectors(i.outline)) for i in lists])
    far = np.hypot(*corners.T).max() / 3600
    assert far == pytest.approx(radius, rel=1e-6)
    assert radius < 0.07
    assert field_circle(lists, 36.0)[1] == pytest.approx(radius + 0.01)


def test_a_field_at_the_pole_and_at_zero_hours():
    for ra, dec in ((0.0, 0.0), (10.0, 89.999), (180.0, -90.0)):
        centre, radius = field_circle([image(ra, dec), image(ra + 0.001, dec)])
        assert abs(centre[1] - dec) < 0.002
        assert radius == pytest.approx(30 * np.sqrt(2) / 3600, abs=0.001)


def test_a_file_is_cut_to_the_field_and_the_magnitudes(tmp_path):
    path = written(tmp_path, RA=RA, DEC=DEC, MAG=[12.0, 20.0, 18.0])
    lists, epochs = [image(150.0, 40.0)], [2022.5]
    options = AbsoluteCatalog(abs_refcat=str(path))
    assert load_reference(options, lists, epochs, 0.0).magnitude.tolist() == [12.0]
    assert len(load_reference(options, lists, epochs, 3600.0)) == 3
    limited = replace(options, abs_mag_max=19.0, abs_mag_min=15.0)
    assert load_reference(limited, lists, epochs, 3600.0).magnitude.tolist() == [18.0]


@pytest.mark.parametrize("name", ["", None, "  "])
def test_no_catalog_is_asked_for(name):
    assert load_reference(AbsoluteCatalog(abs_refcat=name), [image(1, 2)], [2020.0], 6.0) is None


def test_a_name_that_is_neither_file_nor_service(tmp_path):
    options = AbsoluteCatalog(abs_refcat=str(tmp_path / "GAIADR9"))
    with pytest.raises(InputError, match=r"GAIADR9.*GAIADR3"):
        load_reference(options, [image(1, 2)], [2020.0], 6.0)


def test_a_service_is_asked_for_the_field_at_the_mean_epoch(monkeypatch, tmp_path):
    asked = []

    def query(*question):
        asked.append(question)
        return read_reference_catalog(written(tmp_path))

    monkeypatch.setattr(reference_catalogs, "query_catalog", query)
    options = AbsoluteCatalog(abs_refcat="gaiadr3")
    lists = [image(150.0, 40.0), image(150.0, 40.02)]
    assert len(load_reference(options, lists, [2022.0, 2024.0], 6.0)) == 3
    ((name, centre, radius, epoch),) = asked
    assert (name, epoch) == ("GAIADR3", 2023.0)
    np.testing.assert_allclose(centre, [150.0, 40.01], atol=1e-6)
    assert radius == pytest.approx(np.hypot(30, 30 + 36) / 3600 + 6 / 3600, rel=1e-3)


def test_what_is_saved_can_be_used_again(tmp_path):
    path = written(
        tmp_path, ra=RA, dec=DEC, ref_epoch=np.full(3, 2016.0), pmra=[1.0, np.nan, 3],
        pmdec=[4.0, np.nan, 6], ra_error=[3.0, 3, 3], dec_error=[4.0, 4, 4], weight=[1.0, 2, 3],
    )  # fmt: skip
    stars = read_reference_catalog(path)
    again = read_reference_catalog(write_reference_catalog(stars, tmp_path / "saved.ecsv"))
    for name in ("sky", "epoch", "motion", "sigma", "weight", "magnitude", "parallax"):
        np.testing.assert_allclose(getattr(again, name), getattr(stars, name), rtol=1e-15)
    assert Table.read(tmp_path / "saved.ecsv").meta["catalog"] == "ref.ecsv"


def test_names_of_saved_catalogs():
    assert saved_name("GAIADR2") == "fit_gaiadr2_ref.ecsv"
    assert saved_name("/a/b/Mine.csv") == "fit_mine_ref.ecsv"


def test_a_table_without_rows_is_an_empty_catalog(tmp_path):
    Table({"RA": RA[:0], "DEC": DEC[:0]}).write(tmp_path / "empty.ecsv")
    assert len(read_reference_catalog(tmp_path / "empty.ecsv")) == 0
