import pickle

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.products import models
from webbalign.products.atomic import PARTIAL
from webbalign.products.shared_arrays import SharedArray, scratch_array
from webbalign.products.shared_cubes import CubeFile, Images, SharedCube

SHAPE = (5, 6, 7)


@pytest.fixture
def cube():
    rng = np.random.default_rng(1)
    model = CubeModel(data=rng.normal(size=SHAPE).astype("f4"), err=np.ones(SHAPE, "f4"))
    model.data[2, 3, 4] = np.nan
    model.dq = rng.integers(0, 1 << 32, SHAPE, dtype=np.uint32)
    return model


def check(images, cube, part):
    for name in ("data", "err", "dq"):
        found = getattr(images, name)
        np.testing.assert_array_equal(found, getattr(cube, name)[part])
        assert found.dtype == getattr(cube, name).dtype


def test_a_cube_travels_as_the_file_it_was_saved_in(cube, tmp_path):
    cube._saved_path = str(models.save(cube, tmp_path / "a_crfints.fits"))
    shared = SharedCube(cube, tmp_path)
    arrived = pickle.loads(pickle.dumps(shared))
    assert arrived.path == cube._saved_path
    for part in (slice(0, 5), slice(2, 4), slice(3, 99)):
        check(arrived.read(part), cube, part)
        check(shared.read(part), cube, part)
        np.testing.assert_array_equal(arrived.read_flags(part), cube.dq[part])
    assert not (tmp_path / PARTIAL).exists()
    # what identifies it is equal for the same file
    assert pickle.loads(pickle.dumps(shared)) == arrived


@pytest.mark.parametrize("what", ["changed", "packed", "not saved"])
def test_a_cube_that_no_file_holds_is_written_aside(cube, tmp_path, what):
    if what != "not saved":
        path = tmp_path / ("a.fits.gz" if what == "packed" else "a.fits")
        with fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube.data, name="SCI"),
                           fits.ImageHDU(cube.err, name="ERR"),
                           fits.ImageHDU(cube.dq, name="DQ")]) as hdulist:  # fmt: skip
            hdulist.writeto(path)
        cube._source_path = str(path)
    if what == "changed":
        cube.err[4, 5, 6] = 2.0
    shared = SharedCube(cube, tmp_path)
    assert not (tmp_path / PARTIAL).exists()
    arrived = pickle.loads(pickle.dumps(shared))
    assert PARTIAL in arrived.path
    check(arrived.read(slice(1, 4)), cube, slice(1, 4))
    shared.close()
    assert not (tmp_path / PARTIAL).exists()


def test_images_are_written_into_their_places(cube, tmp_path):
    path = str(models.save(cube, tmp_path / "a.fits"))
    cube._saved_path = path
    file = SharedCube(cube, tmp_path).located()
    images = Images(*(array[:2] for array in file.read(slice(3, 5))))
    file.write(0, images)
    with CubeModel(path) as changed:
        for name in ("data", "err", "dq"):
            np.testing.assert_array_equal(getattr(changed, name)[:2], getattr(cube, name)[3:])
            np.testing.assert_array_equal(getattr(changed, name)[2:], getattr(cube, name)[2:])


def test_a_file_that_was_cut_off_is_an_error(cube, tmp_path):
    shared = SharedCube(cube, tmp_path)
    file = shared.located()
    with open(file.path, "r+b") as raw:
        raw.truncate(100)
    with pytest.raises(OSError, match="too early"):
        file.read(slice(0, 5))


@pytest.mark.parametrize("in_file", [False, True])
def test_what_others_put_into_an_array_arrives(tmp_path, in_file):
    shared = SharedArray((4, 3), "f4", tmp_path, in_file=in_file)
    shared.put(0, np.full(3, 1.0))
    other = pickle.loads(pickle.dumps(shared))
    other.put(slice(1, 3), np.full((2, 3), 2.0))
    other.close()
    expected = np.repeat([1.0, 2.0, 2.0, 0.0], 3).reshape(4, 3)
    np.testing.assert_array_equal(shared.array, expected)
    array = shared.array
    shared.close()
    np.testing.assert_array_equal(array, expected)
    assert not (tmp_path / PARTIAL).exists()


def test_an_array_that_does_not_travel_has_no_file(tmp_path):
    shared = SharedArray((4, 3), "f8", tmp_path)
    shared.put(2, np.arange(3.0))
    np.testing.assert_array_equal(shared.array[2], [0, 1, 2])
    assert not list(tmp_path.iterdir())


def test_scratch_arrays_have_no_name(tmp_path):
    array = scratch_array(tmp_path, (3, 4), "f8")
    array[1] = 5
    assert array.sum() == 20
    assert not list(tmp_path.iterdir())


def test_an_array_that_is_not_in_the_file_is_zero(cube, tmp_path):
    shared = SharedCube(cube, tmp_path)
    file = shared.located()
    without = CubeFile(file.path, file.shape, (file.places[0], None, file.places[2]), file.mark)
    assert not without.read(slice(0, 5)).err.any()


def test_images_of_a_model_are_not_copied_and_cannot_be_changed(cube, tmp_path):
    images = SharedCube(cube, tmp_path).read(slice(1, 3))
    assert np.shares_memory(images.data, cube.data)
    with pytest.raises(ValueError, match="read-only"):
        images.dq[0, 0, 0] = 1
    images = SharedCube(cube, tmp_path).read(slice(1, 3))
    check(images, cube, slice(1, 3))
