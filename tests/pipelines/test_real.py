"""The real AU Mic exposures (GTO 1184), from the calints to the disk."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdatamodels.jwst import datamodels

from webbalign.pipelines.coron3 import run
from webbalign.products.associations import make_association

# astropy says that it derived the observatory's longitude from its position
pytestmark = pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")


@pytest.fixture(scope="module")
def reduced(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aumic")
    files = sorted((data_folder / "winnie_aumic_f356w").glob("*_calints.fits.gz"))
    association = folder / "aumic_asn.json"
    association.write_text(json.dumps(make_association(files, folder=folder)))
    steps = {"resample": {"combine_on": "star"}}
    return run(association, output_dir=folder / "out", steps=steps, figure=False)


def disk_position_angle(image, centre):
    """Return the angle (deg, north over east) of the brightest line through the star."""
    y, x = np.indices(image.shape)
    east, north = centre[0] - x, y - centre[1]
    radius = np.hypot(east, north)
    ring = (radius > 25) & (radius < 60) & np.isfinite(image)
    angle = np.degrees(np.arctan2(east, north))[ring] % 180
    bins = np.arange(0, 181, 1.0)
    total, _ = np.histogram(angle, bins, weights=image[ring])
    count, _ = np.histogram(angle, bins)
    profile = total / np.maximum(count, 1)
    near = np.abs(bins[:-1] + 0.5 - (np.argmax(profile) + 0.5)) < 6
    weight = np.clip(profile[near] - np.median(profile), 0, None)
    return float(np.average((bins[:-1] + 0.5)[near], weights=weight))


def test_the_edge_on_disk_is_at_its_position_angle(reduced):
    with fits.open(reduced.model_path) as hdulist:
        image = hdulist["SCI"].data.astype(float)
        wcs = WCS(hdulist["SCI"].header)
    (sub, _) = (path for path in reduced.files if path.stem.endswith("psfsub"))
    with fits.open(sub) as hdulist:
        header = hdulist["SCI"].header
        star = WCS(header, naxis=2).all_pix2world(header["CRPIX1"] - 1, header["CRPIX2"] - 1, 0)
    centre = wcs.all_world2pix(*star, 0)
    assert disk_position_angle(image, centre) == pytest.approx(128.5, abs=1.5)


def test_headers_agree_with_the_gwcs_although_those_of_the_input_do_not(reduced):
    exposures = [path for path in reduced.files if path.stem.endswith(("crfints", "psfsub"))]
    assert len(exposures) == 10  # the PSF members' headers too
    for path in exposures:
        with datamodels.open(path) as model, fits.open(path) as hdulist:
            x, y = np.meshgrid(np.linspace(5, 314, 7), np.linspace(5, 314, 7))
            sky = model.meta.wcs(x, y, with_bounding_box=False)
            back = WCS(hdulist["SCI"].header, naxis=2).all_world2pix(*sky, 0)
        np.testing.assert_allclose(back, [x, y], atol=0.01)


def test_frames_that_are_registered_already_need_no_shift(reduced):
    for path in reduced.files:
        if path.suffix == ".ecsv":
            table = Table.read(path)
            assert len(table) == 6
            assert set(table["status"]) == {"OK"}
            assert np.hypot(table["dx"], table["dy"]).max() < 0.03


def test_starlight_is_gone_where_there_is_no_disk(reduced):
    for row in reduced.summary.rows:
        assert (row.rms_after < row.rms_before / 4).all()
