"""Stars stand where their motion takes them at the epoch of each image."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.time import Time

from webbalign.products.proper_motion import (
    UNKNOWN_MOTION,
    CatalogStars,
    positions_at,
    reference_stars,
)


def stars(n=1, **changes):
    blank = np.full(n, np.nan)
    values = {
        "name": "test", "sky": np.tile([150.0, 40.0], (n, 1)), "epoch": np.full(n, 2016.0),
        "sigma": np.full(n, 1e-3), "motion": np.zeros((n, 2)), "motion_sigma": np.zeros(n),
        "parallax": blank, "parallax_sigma": blank, "weight": np.ones(n), "magnitude": blank,
    } | changes  # fmt: skip
    return CatalogStars(
        **{k: v if k == "name" else np.asarray(v, float) for k, v in values.items()}
    )


def offset(catalog, epoch):
    """East and north, mas."""
    moved = positions_at(catalog, epoch) - catalog.sky
    return (
        moved * 3.6e6 * np.stack([np.cos(np.radians(catalog.sky[:, 1])), np.ones(len(moved))], -1)
    )


def test_against_astropy():
    rng = np.random.default_rng(1)
    sky = np.stack([rng.uniform(0, 360, 40), rng.uniform(-89, 89, 40)], axis=-1)
    motion = rng.normal(0, 300, (40, 2))
    catalog = stars(40, sky=sky, motion=motion)
    expected = SkyCoord(
        *(sky.T * u.deg), pm_ra_cosdec=motion[:, 0] * u.mas / u.yr,
        pm_dec=motion[:, 1] * u.mas / u.yr, distance=np.full(40, 100.0) * u.pc,
        radial_velocity=np.zeros(40) * u.km / u.s, obstime=Time(2016.0, format="jyear"),
    ).apply_space_motion(Time(2024.3, format="jyear"))  # fmt: skip
    moved = positions_at(catalog, 2024.3)
    place = SkyCoord(*(moved.T * u.deg))
    assert place.separation(expected).to_value("mas").max() < 0.02


def test_a_parallax_is_an_ellipse_of_its_size():
    catalog = stars(parallax=[100.0], parallax_sigma=[0.1], sky=[[150.0, 0.0]])
    track = np.array([offset(catalog, 2022 + month / 12)[0] for month in range(12)])
    # near the ecliptic: a line along it, of the size of JWST's orbit, 1.01 au
    assert np.hypot(*np.ptp(track, axis=0)) / 2 == pytest.approx(101.0, rel=0.03)
    half_a_year = offset(catalog, 2022.0)[0] + offset(catalog, 2022.5)[0]
    assert np.abs(half_a_year).max() < 3.0


def test_the_parallax_moves_a_star_away_from_where_we_go():
    catalog = stars(parallax=[50.0], parallax_sigma=[0.01])
    when = Time(2023.3, format="jyear")
    star = SkyCoord(150 * u.deg, 40 * u.deg, distance=20 * u.pc).cartesian
    seen = SkyCoord(star - get_body_barycentric("earth", when), representation_type="cartesian")
    lon, lat = seen.spherical.lon, seen.spherical.lat
    east = (lon.to_value("mas") - 150 * 3.6e6) * np.cos(np.radians(40))
    north = lat.to_value("mas") - 40 * 3.6e6
    np.testing.assert_allclose(offset(catalog, 2023.3)[0], [east, north], rtol=0.02, atol=0.3)


def test_a_parallax_within_its_error_is_noise():
    assert (offset(stars(parallax=[0.5], parallax_sigma=[0.6]), 2023.3) == 0).all()
    assert (offset(stars(parallax=[-2.0], parallax_sigma=[0.1]), 2023.3) == 0).all()
    assert np.hypot(*offset(stars(parallax=[0.5], parallax_sigma=[0.1]), 2023.3)[0]) > 0.1
    assert np.hypot(*offset(stars(parallax=[0.5]), 2023.3)[0]) > 0.1


def test_each_image_gets_its_own_epoch():
    catalog = stars(2, motion=[[100.0, -50.0], [0.0, 0.0]])
    reference = reference_stars(catalog, [2016.0, 2020.0, 2024.0])
    assert reference.sky.shape == (3, 2, 2)
    for image, years in enumerate((0, 4, 8)):
        east, north = (reference.sky_at(image) - catalog.sky)[0] * 3.6e6
        assert east * np.cos(np.radians(40)) == pytest.approx(100 * years, abs=0.01)
        assert north == pytest.approx(-50 * years, abs=0.01)
        np.testing.assert_array_equal(reference.sky_at(image)[1], catalog.sky[1])


def test_the_error_grows_with_that_of_the_motion():
    catalog = stars(motion_sigma=[2.0])
    assert reference_stars(catalog, [2016.0]).sigma[0] == pytest.approx(1e-3)
    assert reference_stars(catalog, [2026.0]).sigma[0] == pytest.approx(np.hypot(1e-3, 20e-3))


def test_a_star_of_unknown_motion_stays_and_is_less_certain():
    catalog = stars(motion=[[np.nan, np.nan]], motion_sigma=[np.nan])
    reference = reference_stars(catalog, [2026.0])
    np.testing.assert_array_equal(reference.sky_at(0), catalog.sky)
    assert reference.sigma[0] == pytest.approx(np.hypot(1e-3, UNKNOWN_MOTION * 10e-3))


def test_without_epoch_nothing_moves_or_grows():
    catalog = stars(epoch=[np.nan], motion=[[np.nan, np.nan]], sigma=[np.nan])
    reference = reference_stars(catalog, [2026.0, 2020.0])
    assert reference.sky.shape == (1, 2)
    assert np.isnan(reference.sigma).all()


def test_an_image_of_unknown_epoch_is_taken_as_the_others():
    catalog = stars(motion=[[100.0, 0.0]])
    reference = reference_stars(catalog, [2020.0, np.nan, 2022.0])
    np.testing.assert_allclose(reference.sky_at(1), positions_at(catalog, 2021.0))


def test_no_epoch_at_all_is_told(caplog):
    reference = reference_stars(stars(motion=[[100.0, 0.0]]), [np.nan])
    np.testing.assert_array_equal(reference.sky_at(0), [[150.0, 40.0]])
    assert "epoch of the images is not known" in caplog.text


def test_limits_of_magnitude_and_of_place():
    catalog = stars(3, magnitude=[12.0, 18.0, np.nan], sky=[[150, 40], [150, 40.02], [150, 41]])
    assert len(catalog.between(None, None)) == 3
    assert catalog.between(15.0, None).magnitude.tolist() == [18.0]
    assert catalog.between(None, 15.0).magnitude.tolist() == [12.0]
    assert len(catalog.within((150.0, 40.0), 0.05)) == 2
    assert len(replace(catalog, name="x").within((330.0, -40.0), 180.0)) == 3
