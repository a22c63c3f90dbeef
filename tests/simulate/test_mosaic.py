from __future__ import annotations

import copy
import json
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.core.errors import OptionError
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.simulate.cameras import BANDS
from webbalign.simulate.mosaic_plan import plan_mosaic
from webbalign.simulate.mosaic_psfs import pixel_response
from webbalign.simulate.mosaic_truth import read_frame_truth

QUIET = {"galaxies": 0.0, "cosmic_rays": 0.0, "bad_pixels": 0.0, "nebulosity": 0.0}


def rows(made):
    return Table.read(made.truth)


def offsets(first, second):
    """Distance of sky positions, mas."""
    dra = (np.asarray(first[0]) - second[0] + 180) % 360 - 180
    return 3.6e6 * np.hypot(dra * np.cos(np.deg2rad(first[1])), np.asarray(first[1]) - second[1])


def test_files_are_valid_data_models(mosaic):
    assert len(mosaic.all_files) == 4
    for path in mosaic.all_files:
        with ImageModel(path, strict_validation=True) as model:
            model.validate()
            assert model.shape == (300, 300)
            assert model.meta.filename == path.name
            frames = ["detector", "v2v3", "v2v3vacorr", "world"]
            assert model.meta.wcs.available_frames == frames
            parts = model.var_poisson + model.var_rnoise + model.var_flat
            np.testing.assert_allclose(np.sqrt(parts), model.err, rtol=1e-5)
            observation, exposure = model.meta.observation, model.meta.exposure
            words = (
                f"jw{observation.program_number}{observation.observation_number}"
                f"{observation.visit_number}_{observation.visit_group}{observation.sequence_id}"
                f"{observation.activity_id}_{int(observation.exposure_number):05d}_nrcalong_cal.fits"
            )
            assert path.name == words
            assert exposure.start_time < exposure.mid_time < exposure.end_time
            assert model.meta.photometry.pixelarea_arcsecsq == pytest.approx(0.00396, rel=0.01)


def test_header_and_outline_agree_with_the_gwcs(mosaic):
    y, x = np.mgrid[0:300:20, 0:300:20].astype(float)
    for path in mosaic.all_files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            header_wcs = WCS(fits.getheader(path, "SCI"), naxis=2)
        with ImageModel(path) as model:
            sky = model.meta.wcs(x, y)
            assert offsets(header_wcs.all_pix2world(x, y, 0), sky).max() < 0.3  # 0.005 px
            numbers = np.array(model.meta.wcsinfo.s_region.split()[2:], float).reshape(-1, 2)
            corners = model.meta.wcs(
                [-0.5, -0.5, 299.5, 299.5], [-0.5, 299.5, 299.5, -0.5], with_bounding_box=False
            )
            assert offsets(numbers.T, corners).max() < 0.01


def test_association_lists_every_file(mosaic):
    content = json.loads(mosaic.association.read_text())
    assert content["asn_type"] == "image3"
    (product,) = content["products"]
    names = [member["expname"] for member in product["members"]]
    assert names == [path.name for path in mosaic.all_files]
    assert {member["exptype"] for member in product["members"]} == {"science"}


def test_the_true_correction_turns_the_recorded_wcs_into_the_true_one(mosaic):
    from tweakwcs import JWSTWCSCorrector

    folder = mosaic.truth.parent
    y, x = np.mgrid[0:300:30, 0:300:30].astype(float)
    for row in rows(mosaic):
        truth = read_frame_truth(folder / row["truth"])
        with ImageModel(folder / row["path"]) as model:
            words = model.meta.wcsinfo
            info = {"v2_ref": words.v2_ref, "v3_ref": words.v3_ref, "roll_ref": words.roll_ref}
            corrector = JWSTWCSCorrector(copy.deepcopy(model.meta.wcs), info)
            assert offsets(model.meta.wcs(x, y), truth.wcs(x, y)).min() > 200
        corrector.set_correction(matrix=row["matrix"], shift=[row["xshift"], row["yshift"]])
        assert offsets(corrector.wcs(x, y), truth.wcs(x, y)).max() < 1e-3
        assert row["residual"] < 1e-6


def test_pointing_errors_are_of_the_size_asked_for(mosaic):
    table = rows(mosaic)
    size = np.hypot(table["xshift"], table["yshift"])
    assert ((size > 0.28) & (size < 1.02)).all()
    roll = np.rad2deg([0.5 * (m[1, 0] - m[0, 1]) for m in table["matrix"]])
    assert 0 < np.abs(roll).max() < 0.04
    # exposures of one visit differ by the jitter only: 3 mas per axis
    by_visit = table.group_by("visit")
    for group in by_visit.groups:
        inner = np.hypot(*(np.diff(group[name])[0] for name in ("xshift", "yshift")))
        assert 0 < inner < 0.03
    first, second = (group["xshift"][0] for group in by_visit.groups)
    assert abs(first - second) > 0.03


def test_stars_are_at_the_true_positions_of_the_catalog(mosaic):
    folder = mosaic.truth.parent
    stars = Table.read(mosaic.stars)
    for row in rows(mosaic):
        truth = read_frame_truth(folder / row["truth"])
        ra, dec = truth.wcs(truth.x, truth.y)
        catalog = stars[truth.star]
        years = row["epoch"] - 2016.0
        at_epoch = (
            catalog["ra"] + catalog["pmra"] * years / 3.6e6 / np.cos(np.deg2rad(catalog["dec"])),
            catalog["dec"] + catalog["pmdec"] * years / 3.6e6,
        )
        moved = offsets((ra, dec), at_epoch)
        assert (moved <= 1.05 * catalog["parallax"] + 1e-3).all()
        assert moved.max() > 0.1
        assert offsets((ra, dec), (catalog["ra"], catalog["dec"])).max() > 50
        np.testing.assert_allclose(truth.magnitude, catalog["mag_f300m"])


def centroid(image, x, y):
    """Centroid under a Gaussian window that follows it, of a star near (x, y)."""
    rows_, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    at = np.array([x, y])
    sigma = 1.0
    for _ in range(60):
        window = np.exp(-0.5 * ((columns - at[0]) ** 2 + (rows_ - at[1]) ** 2) / sigma**2)
        weighted = image * window
        moment = np.array([(weighted * columns).sum(), (weighted * rows_).sum()])
        at += 2 * (moment / weighted.sum() - at)
    return at


def stamp_offset(part, response, dx, dy):
    """Offset of a star from (dx, dy), by a linear fit of its image and of its derivatives."""
    radius, step = len(part) // 2, 0.01
    images = [
        response.stamp(dx, dy, radius),
        (response.stamp(dx + step, dy, radius) - response.stamp(dx - step, dy, radius)) / step / 2,
        (response.stamp(dx, dy + step, radius) - response.stamp(dx, dy - step, radius)) / step / 2,
        np.ones_like(part),
    ]
    design = np.stack([item.ravel() for item in images], axis=1)
    solution, *_ = np.linalg.lstsq(design, part.ravel(), rcond=None)
    return solution[1:3] / solution[0]


def test_stars_appear_at_the_pixels_of_the_true_wcs(tmp_path):
    options = MosaicSimulation(
        bands=("F300M",),
        visits=1,
        dithers=1,
        size=400,
        noise=False,
        background=0.0,
        magnitudes=(17.0, 17.5),
        star_density=300.0,
        **QUIET,
    )
    made = simulate_mosaic(tmp_path, options)
    (row,) = rows(made)
    truth = read_frame_truth(tmp_path / row["truth"])
    with ImageModel(made.all_files[0]) as model:
        image = model.data.astype(float)
    response = pixel_response(BANDS["F300M"])
    moments, fits_ = [], []
    for x, y in zip(truth.x, truth.y, strict=True):
        if not (10 < x < 389 and 10 < y < 389):
            continue
        ix, iy = round(x), round(y)
        part = image[iy - 9 : iy + 10, ix - 9 : ix + 10]
        moments.append(centroid(part, x - ix + 9, y - iy + 9) + np.array([ix, iy]) - (x + 9, y + 9))
        alone = np.sort(np.hypot(truth.x - x, truth.y - y))[1] > 40
        if alone:
            fits_.append(stamp_offset(part, response, x - ix, y - iy))
    # the sampling biases each centroid by up to 0.04 px, to either side
    assert len(moments) > 30
    assert np.abs(np.median(moments, axis=0)).max() < 0.01
    assert len(fits_) > 8
    assert np.abs(fits_).max() < 2e-3


def test_the_noise_is_what_err_says(tmp_path, small_optics):
    options = MosaicSimulation(
        bands=("F200W",), detectors=("nrca2",), visits=1, dithers=1, size=128, star_density=0.0,
        **QUIET,
    )  # fmt: skip
    made = simulate_mosaic(tmp_path, options)
    with ImageModel(made.all_files[0]) as model:
        pull = (model.data.astype(float) - np.median(model.data)) / model.err
    assert pull.std() == pytest.approx(1.0, abs=0.03)


def test_bright_cores_are_saturated(tmp_path):
    options = MosaicSimulation(
        bands=("F300M",), visits=1, dithers=1, size=200, magnitudes=(13.0, 14.0), star_density=100,
        **QUIET,
    )  # fmt: skip
    made = simulate_mosaic(tmp_path, options)
    (row,) = rows(made)
    truth = read_frame_truth(tmp_path / row["truth"])
    with ImageModel(made.all_files[0]) as model:
        inside = (truth.x > 0) & (truth.x < 199) & (truth.y > 0) & (truth.y < 199)
        assert inside.sum() > 3
        at = np.rint(truth.y[inside]).astype(int), np.rint(truth.x[inside]).astype(int)
        assert (model.dq[at] & 3 == 3).all()
        assert np.isnan(model.data[at]).all()
        partly = (model.dq & 3) == 2
        assert partly.any()
        assert np.isfinite(model.data[partly]).all()


def test_bands_lie_in_folders_and_share_the_pointing(tmp_path, small_optics):
    options = MosaicSimulation(
        bands=("F150W", "F300M", "F770W"), visits=1, dithers=1, size=64,
        detectors=("nrca1", "nrcalong", "mirimage"), star_density=20.0,
    )  # fmt: skip
    calls = []
    made = simulate_mosaic(tmp_path, options, progress=lambda *words: calls.append(words))
    assert list(made.files) == ["F150W", "F300M", "F770W"]
    assert [done for done, _, _ in calls] == [1, 2, 3]
    for band, paths in made.files.items():
        assert {path.parent for path in paths} == {tmp_path / band}
        assert made.associations[band].parent == tmp_path / band
        assert {fits.getval(path, "FILTER") for path in paths} == {band}
    members = json.loads(made.association.read_text())["products"][0]["members"]
    assert {tmp_path / member["expname"] for member in members} == set(made.all_files)
    table = rows(made)
    # both channels of NIRCam look at the same time
    by_exposure = {tuple(sorted(group["band"])) for group in table.group_by("exposure").groups}
    assert by_exposure == {("F150W", "F300M"), ("F770W",)}
    assert len(set(table["visit"])) == 2
    # diffuse light is MIRI's alone
    with ImageModel(made.files["F770W"][0]) as model:
        assert np.nanstd(model.data) > 5 * np.nanmedian(model.err)


@pytest.mark.slow
def test_the_same_sky_in_rotated_exposures(tmp_path, small_optics):
    """Without stars: the nebula must be at the same place of the sky in both."""
    from scipy.interpolate import RectBivariateSpline

    options = MosaicSimulation(
        bands=("F770W",), visits=2, dithers=1, size=200, star_density=0.0, noise=False,
        roll_step=30.0, **{**QUIET, "nebulosity": 4.0},
    )  # fmt: skip
    made = simulate_mosaic(tmp_path, options)
    first, second = (read_frame_truth(tmp_path / name).wcs for name in rows(made)["truth"])
    images = []
    for path in made.all_files:
        with ImageModel(path) as model:
            images.append(model.data.astype(float))
    y, x = np.mgrid[60:140:20j, 60:140:20j]
    there = second.invert(*first(x, y))
    axis = np.arange(200.0)
    seen = [
        RectBivariateSpline(axis, axis, image).ev(rows_, columns)
        for image, (columns, rows_) in zip(images, ((x, y), there), strict=True)
    ]
    assert np.std(seen[0]) > 0.2
    assert np.abs(seen[0] - seen[1]).max() < 0.01 * np.std(seen[0])


def test_bands_of_miri_follow_one_another():
    frames = plan_mosaic(MosaicSimulation(bands=("F770W", "F1000W"), visits=2, dithers=3))
    assert [frame.camera.band.name for frame in frames[:6]] == ["F770W"] * 3 + ["F1000W"] * 3
    starts = [frame.start for frame in frames]
    assert starts == sorted(starts)
    assert len({frame.root for frame in frames}) == len(set(starts)) == len(frames) == 12
    # one error of the pointing for the visit, apart from jitter, whatever the band
    turns = [frame.true @ frame.recorded.T for frame in frames]
    angles = [[np.rad2deg(turn - turns[0]).max() * 3600 for turn in turns[:6]]]
    assert np.max(angles) < 0.05
    assert np.rad2deg(turns[6] - turns[0]).max() * 3600 > 0.1


@pytest.mark.slow
def test_the_seed_decides(tmp_path):
    small = {"bands": ("F300M",), "visits": 1, "dithers": 1, "size": 64}

    def data(name, seed):
        made = simulate_mosaic(tmp_path / name, MosaicSimulation(seed=seed, **small))
        return np.nan_to_num(fits.getdata(made.all_files[0]))

    one, same, other = data("a", 7), data("b", 7), data("c", 8)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_tiles_overlap_as_asked_for():
    options = MosaicSimulation(
        bands=("F300M",), visits=4, dithers=1, tiles=(2, 2), tile_overlap=0.2, roll_step=0.0,
        pointing_error=(0.0, 0.0), roll_error=0.0, jitter=0.0,
    )  # fmt: skip
    frames = plan_mosaic(options)
    assert len(frames) == 4
    first, second, third, _ = (frame.true_wcs for frame in frames)
    # V2 runs against x, V3 along y
    x, y = second.invert(*first(1023.5, 1023.5), with_bounding_box=False)
    assert x - 1023.5 == pytest.approx(0.8 * 2048, rel=0.02)
    assert y - 1023.5 == pytest.approx(0.0, abs=30)
    x, y = third.invert(*first(1023.5, 1023.5), with_bounding_box=False)
    assert y - 1023.5 == pytest.approx(-0.8 * 2048, rel=0.02)


def test_detectors_may_be_misplaced():
    options = MosaicSimulation(
        bands=("F150W",), detectors=("nrca1", "nrcb4"), visits=2, dithers=1, roll_error=0.0,
        pointing_error=(0.0, 0.0), jitter=0.0, detector_error=20.0,
    )  # fmt: skip
    frames = plan_mosaic(options)
    moves = {}
    for frame in frames:
        error = offsets(frame.true_wcs(1000.0, 1000.0), frame.recorded_wcs(1000.0, 1000.0))
        moves.setdefault(frame.camera.detector, []).append(float(error))
    for first, second in moves.values():
        assert first == pytest.approx(second, rel=1e-3)
        assert first > 1
    assert len({round(first, 3) for first, _ in moves.values()}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"bands": ("F999X",)},
        {"bands": ()},
        {"bands": ("F300M", "f300m")},
        {"detectors": ("nrcq",)},
        {"bands": ("F300M",), "detectors": ("nrca1",)},
        {"magnitudes": (25.0, 15.0)},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(OptionError, match="bands|detectors|magnitudes"):
        plan_mosaic(MosaicSimulation(**wrong))
