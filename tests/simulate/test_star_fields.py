from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Distance, SkyCoord
from astropy.time import Time

from webbalign.simulate.cameras import BANDS
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.star_fields import StarField, draw_galaxies, draw_stars, gaia_like

OUTLINE = np.array([[-0.02, -0.01], [0.02, 0.03]])
CENTRE = (359.999, 60.0)


def field(**options):
    return draw_stars(MosaicSimulation(**options), OUTLINE, CENTRE)


def test_stars_fill_the_box_at_the_density_asked_for():
    stars = field(star_density=200.0)
    area = 0.04 * 0.04 * 3600  # square arcminutes
    assert stars.ra.size == pytest.approx(200 * area, abs=1)
    place = SkyCoord(stars.ra, stars.dec, unit="deg")
    offset = SkyCoord(*CENTRE, unit="deg").skyoffset_frame()
    east, north = place.transform_to(offset).lon.deg, place.transform_to(offset).lat.deg
    assert (np.abs(east) < 0.02001).all()
    assert ((north > -0.01001) & (north < 0.03001)).all()
    assert np.histogram(east, 4)[0].min() > 0.2 * stars.ra.size
    assert np.histogram(north, 4)[0].min() > 0.2 * stars.ra.size


def test_magnitudes_follow_the_slope():
    stars = field(star_density=3000.0, magnitudes=(18.0, 22.0), slope=0.25)
    assert 18 <= stars.mag.min() < stars.mag.max() <= 22
    counts = np.histogram(stars.mag, bins=[18, 20, 22])[0]
    assert counts[1] / counts[0] == pytest.approx(10**0.5, rel=0.1)
    flat = field(star_density=3000.0, magnitudes=(18.0, 22.0), slope=0.0)
    assert np.mean(flat.mag) == pytest.approx(20, abs=0.05)


def test_stars_move_as_astropy_says():
    n = 40
    rng = np.random.default_rng(3)
    stars = StarField(
        ra=rng.uniform(0, 360, n),
        dec=rng.uniform(-80, 80, n),
        pmra=30 * rng.standard_normal(n),
        pmdec=30 * rng.standard_normal(n),
        parallax=rng.uniform(0.5, 3, n),
        mag=np.zeros(n),
        gmag=np.zeros(n),
    )
    when = Time(2024.37, format="jyear", scale="tdb")
    catalog = SkyCoord(
        ra=stars.ra * u.deg,
        dec=stars.dec * u.deg,
        pm_ra_cosdec=stars.pmra * u.mas / u.yr,
        pm_dec=stars.pmdec * u.mas / u.yr,
        distance=Distance(parallax=stars.parallax * u.mas),
        radial_velocity=0 * u.km / u.s,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    moved = catalog.apply_space_motion(when)
    from astropy.coordinates import get_body_barycentric

    observer = 1.01 * get_body_barycentric("earth", when, ephemeris="builtin")
    seen = (moved.cartesian.without_differentials() - observer).xyz.to_value("au")
    direction = seen / np.linalg.norm(seen, axis=0)
    ra, dec = (np.deg2rad(angle) for angle in stars.position(when.mjd))
    ours = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    # straight lines on the sky or in space: the difference is of second order
    assert np.rad2deg(np.linalg.norm(ours - direction, axis=0)).max() * 3.6e6 < 0.005


def test_the_catalog_has_the_errors_it_tells():
    options = MosaicSimulation(star_density=20000.0, gaia_limit=21.0)
    stars = draw_stars(options, OUTLINE, CENTRE)
    table = gaia_like(options, stars)
    assert len(table) == np.sum(stars.gmag <= 21) > 5000
    row = table["source_id"] - 4_000_000_000_000_000_000
    cosine = np.cos(np.deg2rad(stars.dec[row]))
    pulls = [
        (table["ra"] - stars.ra[row]) * cosine * 3.6e6 / table["ra_error"],
        (table["dec"] - stars.dec[row]) * 3.6e6 / table["dec_error"],
        (table["pmra"] - stars.pmra[row]) / table["pmra_error"],
        (table["pmdec"] - stars.pmdec[row]) / table["pmdec_error"],
        (table["parallax"] - stars.parallax[row]) / table["parallax_error"],
    ]
    for pull in pulls:
        assert np.ma.std(pull) == pytest.approx(1.0, abs=0.05)
        assert np.ma.mean(pull) == pytest.approx(0.0, abs=0.06)
    redder = np.ma.corrcoef(table["bp_rp"], stars.gmag[row] - stars.mag[row])[0, 1]
    assert redder > 0.9
    assert np.mean(table["pmra"].mask) == pytest.approx(0.05, abs=0.02)
    np.testing.assert_array_equal(table["pmra"].mask, table["parallax"].mask)
    assert set(table["ref_epoch"]) == {2016.0}


def test_bands_differ_by_color():
    stars = field(star_density=500.0)
    difference = stars.magnitude(BANDS["F770W"]) - stars.magnitude(BANDS["F150W"])
    assert difference.mean() == pytest.approx(5 * np.log10(7.7 / 1.501), abs=0.05)
    assert difference.std() == pytest.approx(0.15 * np.sqrt(2), abs=0.02)
    np.testing.assert_array_equal(stars.magnitude(BANDS["F770W"]), stars.magnitude(BANDS["F770W"]))


def test_shapes_of_galaxies_have_their_axes():
    galaxies = draw_galaxies(MosaicSimulation(), OUTLINE, CENTRE)
    shapes = galaxies.covariances()
    variances = np.linalg.eigvalsh(shapes)
    np.testing.assert_allclose(np.sqrt(variances[:, 1]), galaxies.radius)
    np.testing.assert_allclose(
        np.sqrt(variances[:, 0]), galaxies.radius * galaxies.axis_ratio, rtol=1e-9
    )
    along = np.stack([np.sin(galaxies.angle), np.cos(galaxies.angle)], axis=1)
    stretched = np.einsum("ni,nij,nj->n", along, shapes, along)
    np.testing.assert_allclose(stretched, galaxies.radius**2)
