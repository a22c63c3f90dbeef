"""The order of files, bands and visits changes nothing in wcs adjust."""

import numpy as np
import pytest
from astropy.io import fits

from webbalign.pipelines.wcs_adjust import get_wcs_adjust
from webbalign.simulate import MosaicSimulation, simulate_mosaic

VISITS = 3
LIMIT = 1e-9  # arcsec
METHOD = {"nircam": "tweakreg", "miri": "cross_corr"}
# arcsec from the reference point
FIELD = np.stack(np.meshgrid([-30.0, 0.0, 30.0], [-30.0, 0.0, 30.0]), axis=-1).reshape(-1, 2)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three visits of each instrument, one to be measured by stars, the other by images."""
    options = MosaicSimulation(
        bands=("F300M", "F770W"), visits=VISITS, dithers=1, size=260, star_density=3000.0,
        magnitudes=(16.0, 22.0), galaxies=0.0, detectors=("nrcalong", "mirimage"),
    )  # fmt: skip
    return dict(simulate_mosaic(tmp_path_factory.mktemp("field"), options).files)


@pytest.fixture(scope="module")
def measured(images, tmp_path_factory):
    return get(images, tmp_path_factory.mktemp("measured"))


def get(images, folder):
    return get_wcs_adjust(images, output_dir=folder, method=METHOD)


def renamed(name):
    """Count the visit of a file name or key backwards."""
    return f"{name[:10]}{VISITS + 1 - int(name[10:13]):03d}{name[13:]}"


def renumbered(path, folder):
    """Write an image as one of another visit."""
    new = folder / renamed(path.name)
    with fits.open(path) as hdulist:
        header = hdulist[0].header
        header["VISIT"], header["FILENAME"] = new.name[10:13], new.name
        header["VISIT_ID"] = header["VISIT_ID"][:-3] + new.name[10:13]
        hdulist.writeto(new)
    return new


def apart(first, second, name=str):
    """Compare two tables: by how much they put the sky elsewhere, arcsec, and the stated error."""
    there = {str(entry.key): entry for entry in second.entries}
    assert sorted(name(str(entry.key)) for entry in first.entries) == sorted(there)
    found, errors = [], []
    for entry in first.entries:
        other = there[name(str(entry.key))]
        assert (other.status, other.n_used) == (entry.status, entry.n_used)
        put = other.plane.from_sky(entry.plane.to_sky(entry.correction.apply(FIELD)))
        points = other.plane.from_sky(entry.plane.to_sky(FIELD))
        found.append(np.abs(put - other.correction.apply(points)).max())
        errors.append(entry.errors.max())
    return max(found), max(errors)


def test_the_order_of_files_and_bands_changes_nothing(images, measured, tmp_path):
    mixed = {band: images[band][1:] + images[band][:1] for band in reversed(images)}
    assert apart(measured, get(mixed, tmp_path))[0] < LIMIT


@pytest.mark.parametrize("band", ["F300M", "F770W"])
def test_the_numbers_of_the_visits_change_nothing_that_matters(images, tmp_path, band):
    others = [renumbered(path, tmp_path) for path in images[band]]
    first = get({band: images[band]}, tmp_path / "first")
    second = get({band: others}, tmp_path / "second")
    difference, error = apart(first, second, renamed)
    # of two stacks the one of the lower number is interpolated: another measurement, as good
    assert difference < (LIMIT if band == "F300M" else error)
