"""Corrections applied: PJPipe's as PJPipe does it, ours about one point for a whole visit."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from tweakwcs import JWSTWCSCorrector

from tests.products.images import Place, make_model, write_image
from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.products.corrector import Correction
from webbalign.products.image_files import read_info
from webbalign.products.models import quiet_schema_warnings
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import (
    AdjustStatus,
    VisitCorrection,
    WcsAdjust,
    write_wcs_adjust,
)

VISIT = "jw01345001001"
GRID = np.stack(np.meshgrid([0.0, 40.0, 79.0], [0.0, 31.0, 63.0]), axis=-1).reshape(-1, 2)
ROLL = 3e-4
MATRIX = np.array([[np.cos(ROLL), -np.sin(ROLL)], [np.sin(ROLL), np.cos(ROLL)]])
CORRECTION = Correction(MATRIX, np.array([0.31, -0.47]))
REFERENCE = (214.93, 52.96)


def entry(key=VISIT, correction=CORRECTION, reference=REFERENCE, **changes):
    values = {"status": AdjustStatus.ALIGNED} | changes
    return VisitCorrection(key=parse_key(key), correction=correction, reference=reference, **values)


def sky(path):
    return np.stack(read_info(path).wcs(*GRID.T, with_bounding_box=False), axis=-1)


def apply(table, images, folder, **options):
    adjust = table if isinstance(table, WcsAdjust) else WcsAdjust(tuple(table))
    return apply_wcs_adjust(adjust, images, output_dir=folder, **options)


def mas(first, second):
    """Distances in mas."""
    plane = TangentPlane.about(*first[0])
    return 1e3 * np.hypot(*(plane.from_sky(first) - plane.from_sky(second)).T)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """An image of module B, two arcminutes away."""
    place = Place(v2v3=(0.5, -527.7), v3_angle=0.7, scale=0.063)
    ra, dec = TangentPlane.about(*REFERENCE).to_sky([[40.0, 110.0]])[0]
    model = make_model(place=place, sky=(float(ra), float(dec)), roll=130.6)
    model.meta.instrument.detector, model.meta.instrument.module = "NRCBLONG", "B"
    model.meta.filename = f"{VISIT}_02201_00001_nrcblong_cal.fits"
    path = tmp_path_factory.mktemp("other") / model.meta.filename
    with quiet_schema_warnings():
        model.save(str(path))
    return path


def test_a_table_of_pjpipe_does_what_set_correction_does(image, tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        f"[wcs_adjust]\n\n{VISIT}.shift = {CORRECTION.shift.tolist()}\n"
        f"{VISIT}.matrix = {CORRECTION.matrix.tolist()}\n"
    )
    (done,) = apply_wcs_adjust(path, image, output_dir=tmp_path / "out")
    info = read_info(image)
    corrector = JWSTWCSCorrector(
        info.wcs, {key: info.wcsinfo[key] for key in ("v2_ref", "v3_ref", "roll_ref")}
    )
    corrector.set_correction(matrix=CORRECTION.matrix, shift=CORRECTION.shift)
    expected = np.stack(corrector.wcs(*GRID.T, with_bounding_box=False), axis=-1)
    np.testing.assert_allclose(sky(done.path), expected, rtol=0, atol=1e-12)
    assert done.status is AdjustStatus.UNKNOWN
    assert done.is_aligned


def test_what_we_write_pjpipe_applies_alike_at_the_reference_point(image, tmp_path):
    # as written by us, read as PJPipe reads it: shift and matrix alone, about the image's own
    info = read_info(image)
    reference = info.wcsinfo["ra_ref"], info.wcsinfo["dec_ref"]
    ours = apply([entry(reference=reference)], image, tmp_path / "a")
    theirs = apply([entry(reference=None)], image, tmp_path / "b")
    # the axes of the image's plane follow its WCS, ours are north and east
    assert mas(sky(ours[0].path), sky(theirs[0].path)).max() < 0.05


def test_a_roll_moves_all_detectors_as_one(image, other, tmp_path):
    done = apply([entry()], [image, other], tmp_path)
    plane = TangentPlane.about(*REFERENCE)
    for source, result in zip((image, other), done, strict=True):
        expected = plane.to_sky(CORRECTION.apply(plane.from_sky(sky(source))))
        assert mas(sky(result.path), expected).max() < 0.01
        assert result.error < 1e-5
        # far from the reference, that is not what turning the image about itself does
    alone = apply([entry(reference=None)], other, tmp_path / "alone")
    assert mas(sky(alone[0].path), sky(done[1].path)).min() > 10


def test_files_keep_their_names_and_tell_what_was_done(image, tmp_path):
    (done,) = apply([entry()], image, tmp_path)
    assert done.path == tmp_path / image.name
    with fits.open(done.path) as after, fits.open(image) as before:
        assert after[0].header["FILENAME"] == image.name
        assert after[0].header["S_TWKREG"] == "COMPLETE"
        assert f"{VISIT} ALIGNED" in str(after[0].header["HISTORY"])
        assert after["SCI"].header["S_REGION"] != before["SCI"].header["S_REGION"]
        assert after["SCI"].header["SIPMXERR"] < 0.01
        np.testing.assert_array_equal(after["SCI"].data, before["SCI"].data)
    assert "v2v3corr" in read_info(done.path).wcs.available_frames
    assert list(tmp_path.iterdir()) == [done.path]


def test_the_exposure_and_the_module_go_first(image, other, tmp_path):
    still = Correction.none()
    table = [
        entry(),
        entry(f"{VISIT}_02201_00001", still),
        entry(f"{VISIT}_02201_00001_nrcb", Correction(np.eye(2), np.array([0.1, 0.0]))),
    ]
    done = apply(table, [image, other], tmp_path)
    assert [item.key for item in done] == [str(table[1].key), str(table[2].key)]
    np.testing.assert_array_equal(sky(done[0].path), sky(image))
    assert mas(sky(done[1].path), sky(other)) == pytest.approx(100.0, rel=1e-3)


def test_a_second_correction_acts_after_the_first(image, tmp_path):
    (once,) = apply([entry()], image, tmp_path / "a")
    (twice,) = apply([entry()], once.path, tmp_path / "b")
    plane = TangentPlane.about(*REFERENCE)
    expected = CORRECTION.apply(CORRECTION.apply(plane.from_sky(sky(image))))
    assert mas(sky(twice.path), plane.to_sky(expected)).max() < 0.01
    assert read_info(twice.path).wcs.available_frames.count("v2v3corr") == 1


def test_there_and_back_is_where_it_was(image, tmp_path):
    inverse = np.linalg.inv(CORRECTION.matrix)
    back = Correction(inverse, -inverse @ CORRECTION.shift)
    (there,) = apply([entry()], image, tmp_path / "a")
    (here,) = apply([entry(correction=back)], there.path, tmp_path / "b")
    assert mas(sky(here.path), sky(image)).max() < 0.001


def test_an_image_without_a_correction_is_copied_and_named(image, tmp_path, caplog):
    (done,) = apply([entry("jw01345001002")], image, tmp_path)
    assert (done.key, done.status, done.is_aligned) == ("", AdjustStatus.UNCHANGED, False)
    np.testing.assert_array_equal(sky(done.path), sky(image))
    assert fits.getval(done.path, "S_TWKREG") == "FAILED"
    assert "no correction" in caplog.text


@pytest.mark.parametrize(
    ("status", "moved", "keyword"),
    [
        ("ALIGNED", True, "COMPLETE"), ("REFERENCE", True, "COMPLETE"),
        ("RELATIVE_ONLY", True, "FAILED"), ("INCONSISTENT", True, "FAILED"),
        ("UNCHANGED", False, "FAILED"), ("FAILED", False, "FAILED"),
    ],
)  # fmt: skip
def test_every_status_has_its_effect(image, tmp_path, status, moved, keyword):
    (done,) = apply([entry(status=AdjustStatus(status), reason="so")], image, tmp_path)
    assert bool(mas(sky(done.path), sky(image)).max() > 1) is moved
    assert fits.getval(done.path, "S_TWKREG") == keyword
    assert done.is_aligned is (keyword == "COMPLETE")
    assert "so" in str(fits.getheader(done.path)["HISTORY"])


def test_folders_stand_for_their_images(image, other, tmp_path):
    (tmp_path / "empty").mkdir()
    table = write_wcs_adjust(WcsAdjust((entry(),)), tmp_path / "t.toml")
    places = [image.parent, tmp_path / "empty", other.parent]
    done = apply_wcs_adjust(table, places, output_dir=tmp_path / "out")
    assert [item.path.name for item in done] == [image.name, other.name]


def test_what_cannot_be_written_is_refused_before_anything_is(image, other, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    together = [shutil.copy(path, inputs) for path in (other, image)]
    with pytest.raises(InputError, match="^an input, which would be replaced - "):
        apply([entry()], together, inputs)
    with pytest.raises(InputError, match="given twice"):
        apply([entry()], [image, image], tmp_path)
    with pytest.raises(InputError, match="no images"):
        apply([entry()], tmp_path, tmp_path / "out")
    (done,) = apply([entry()], other, tmp_path)
    with pytest.raises(InputError, match="exists already"):
        apply([entry()], together, tmp_path, overwrite=False)
    assert list(tmp_path.glob("*.fits")) == [done.path]


def test_images_of_several_folders_keep_them(image, other, tmp_path):
    for band, path in (("F300M", image), ("F150W", other)):
        (tmp_path / band).mkdir()
        shutil.copy(path, tmp_path / band)
    table, out = [entry()], tmp_path / "out"
    both = [tmp_path / "F300M", tmp_path / "F150W"]
    assert [one.path for one in apply(table, both, out)] == [
        out / "F300M" / image.name,
        out / "F150W" / other.name,
    ]
    (one,) = apply(table, both[:1], out)
    assert one.path == out / image.name
    with pytest.raises(InputError, match="^an input, which would be replaced - "):
        apply(table, both, tmp_path)
    # a band that is there twice, and one image in two folders
    again = tmp_path / "more" / "F300M"
    again.mkdir(parents=True)
    shutil.copy(image, again)
    with pytest.raises(InputError, match=r"becomes .*F300M.*, as does"):
        apply(table, [*both, again], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "F115W").mkdir()
    shutil.copy(image, tmp_path / "F115W")
    names = [one.path for one in apply(table, [*both, tmp_path / "F115W"], out)]
    assert len(set(names)) == 3


def test_packed_and_unpacked_are_not_written_over_one_another(image, tmp_path):
    here = tmp_path / "in"
    here.mkdir()
    shutil.copy(image, here)
    with gzip.open(here / f"{image.name}.gz", "wb") as file:
        file.write(image.read_bytes())
    with pytest.raises(InputError, match="as does"):
        apply([entry()], here, tmp_path / "out")


def test_a_doubtful_or_copied_image_is_told(image, tmp_path, caplog):
    apply([entry(status=AdjustStatus.INCONSISTENT, reason="bands differ")], image, tmp_path)
    assert "bands differ" in caplog.text
