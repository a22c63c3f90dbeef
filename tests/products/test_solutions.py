"""The table of a solution survives the file to the last digit, and refuses what it cannot be."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from tests.products.images import Place, make_wcs, make_wcsinfo
from webbalign.core.astrometry import ImageFit, ImageStatus
from webbalign.core.errors import InputError
from webbalign.products.catalogs import StarCatalog, star_list
from webbalign.products.corrector import Correction, image_plane
from webbalign.products.groups import ObservationIds
from webbalign.products.image_files import ImageInfo
from webbalign.products.solutions import Solution, read_solution, solved, write_solution

RNG = np.random.default_rng(11)


def info(
    name="jw01345001001_02201_00001_nrca1_cal.fits", place=None, exposure="00001", visit="001"
):
    place = place or Place()
    detector = name.split("_")[-2].upper()
    return ImageInfo(
        name=name, path=None, shape=place.shape, wcs=make_wcs(place), wcsinfo=make_wcsinfo(place),
        epoch=2022.46, filter="F200W",
        observation=ObservationIds("01345", "001", visit, "02", "2", "01", exposure, detector, "A"),
    )  # fmt: skip


def fit(name, status=ImageStatus.ALIGNED, **changes):
    cov = RNG.normal(0, 1e-6, (6, 6))
    values = {
        "name": name, "group": "g1", "status": status, "reason": "", "n_found": 40,
        "n_matched": 35, "n_used": 33, "n_reference": 12, "rms": 0.0012345678901234567,
        "matrix": np.eye(2) + RNG.normal(0, 1e-4, (2, 2)), "shift": RNG.normal(0, 0.3, 2),
        "cov": cov @ cov.T, "chi2_reduced": 1.0123,
    } | changes  # fmt: skip
    return ImageFit(**values)


def stars_of(image):
    blank = np.zeros((0, 2))
    catalog = StarCatalog("c", blank, blank[:, 0], blank[:, 0], blank[:, 0])
    return star_list(catalog, image, "g1")


@pytest.fixture(scope="module")
def solution():
    infos = [
        info(),
        info("jw01345001001_02201_00001_nrcb4_cal.fits", Place(v2v3=(-90.0, -480.0))),
        info("jw01345001001_02201_00002_nrca1_cal.fits", exposure="00002"),
        info("jw01345001002_02201_00001_nrca1_cal.fits", visit="002"),
    ]
    fits = [
        fit(infos[0].name),
        fit(infos[1].name, ImageStatus.REFERENCE, matrix=np.eye(2), shift=np.zeros(2)),
        fit(infos[2].name, ImageStatus.RELATIVE_ONLY, reason="the catalog is of another field"),
        fit(
            infos[3].name, ImageStatus.FAILED, reason="3 stars, fewer than 15", n_used=0,
            rms=np.nan, cov=np.full((6, 6), np.nan), chi2_reduced=np.nan,
        ),
    ]  # fmt: skip
    lists = [stars_of(one) for one in infos]
    return Solution(
        tuple(solved(fits, lists, infos)), {"abs_refcat": "GAIADR3", "solver": "global"}
    )


def test_there_and_back(solution, tmp_path):
    path = write_solution(solution, tmp_path / "tweakreg_solution.ecsv")
    again = read_solution(path)
    assert again.meta == solution.meta
    for one, other in zip(solution.images, again.images, strict=True):
        assert one.rms == pytest.approx(other.rms, rel=1e-15, nan_ok=True)
        for name in ("matrix", "shift"):
            np.testing.assert_array_equal(
                getattr(one.correction, name), getattr(other.correction, name)
            )
        np.testing.assert_array_equal(one.cov, other.cov)
        np.testing.assert_array_equal(one.plane.axes, other.plane.axes)
        simple = ("filename", "group_id", "status", "reason", "n_found", "n_matched", "n_used",
                  "n_reference", "reference_angles", "epoch", "observation", "filter")  # fmt: skip
        for name in simple:
            assert getattr(one, name) == getattr(other, name)


def test_the_columns_are_those_of_the_design(solution, tmp_path):
    table = Table.read(write_solution(solution, tmp_path / "s.ecsv"))
    assert table.colnames[:4] == ["filename", "group_id", "status", "reason"]
    assert table["matrix"].shape == (4, 2, 2)
    assert table["cov"].shape == (4, 6, 6)
    assert table["rms_mas"].unit == "mas"
    assert table["rms_mas"][0] == pytest.approx(1.2345678901234567)
    assert table["roll"][0] == pytest.approx(solution.images[0].correction.rotation)


def test_what_is_applied_and_what_the_header_says(solution):
    assert [row.is_applied for row in solution.images] == [True, True, True, False]
    assert [row.step_status for row in solution.images] == [
        "COMPLETE", "COMPLETE", "FAILED", "FAILED",
    ]  # fmt: skip


def broken(tmp_path, solution, change):
    table = Table.read(write_solution(solution, tmp_path / "s.ecsv"))
    change(table)
    table.write(tmp_path / "s.ecsv", overwrite=True)
    return tmp_path / "s.ecsv"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.remove_column("xshift"), "no column xshift"),
        (lambda t: t["status"].__setitem__(1, "DONE"), "row 2: status 'DONE'"),
        (lambda t: t["matrix"].__setitem__(2, 0.0), "row 3.*singular"),
        (lambda t: t["yshift"].__setitem__(0, np.nan), "row 1.*finite"),
        (lambda t: t["axes"].__setitem__(0, 1.0), "row 1: axes"),
        (lambda t: t.replace_column("cov", t["cov"][:, 0]), "row 1, cov: 6 values"),
        (lambda t: t.replace_column("xshift", ["a"] * 4), "row 1, xshift"),
        (lambda t: t["filename"].__setitem__(1, t["filename"][0]), "same image"),
    ],
)
def test_broken_tables_name_the_row(solution, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        read_solution(broken(tmp_path, solution, change))
    assert "s.ecsv" in str(error.value)


def test_missing_files_and_other_tables(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_solution(tmp_path / "none.ecsv")
    (tmp_path / "cut.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a")
    with pytest.raises(InputError, match="not readable"):
        read_solution(tmp_path / "cut.ecsv")


def test_what_is_not_needed_may_be_missing(solution, tmp_path):
    names = ["n_reference", "roll", "epoch", "filter", "program", "module"]
    again = read_solution(broken(tmp_path, solution, lambda t: t.remove_columns(names)))
    assert again.images[0].n_reference == 0
    assert again.images[0].observation.program == ""


class TestCorrectionFor:
    def found(self, solution, image):
        plane = image_plane(image.wcs, image.wcsinfo, image.shape)
        return solution.correction_for(image, plane), plane

    def test_its_own_row_whatever_the_suffix(self, solution):
        own, _ = self.found(solution, info("jw01345001001_02201_00001_nrca1_tweakreg.fits"))
        assert own.by == "image"
        assert own.correction is solution.images[0].correction

    def test_an_image_that_failed_gets_nothing_from_others(self, solution):
        image = info("jw01345001002_02201_00001_nrca1_cal.fits", visit="002")
        assert self.found(solution, image)[0] is None

    def test_the_nearest_of_the_same_exposure(self, solution):
        place = Place(v2v3=(100.0, -520.0), scale=0.063)
        image = info("jw01345001001_02201_00001_nrcalong_cal.fits", place)
        other, plane = self.found(solution, image)
        assert (other.by, other.row.filename) == ("exposure", solution.images[0].filename)
        assert other.error < 1e-5
        # the same stars end at the same places, whichever plane they are corrected in
        row = solution.images[0]
        here = plane.outline
        there, _ = plane.plane.map_to(row.plane, here)
        expected = row.plane.to_vectors(row.correction.apply(there))
        moved = plane.plane.to_vectors(other.correction.apply(here))
        assert np.abs(moved - expected).max() < 5e-11

    def test_the_mean_of_the_visit(self, solution):
        image = info("jw01345001001_02201_00007_nrca1_cal.fits", exposure="00007")
        other, _ = self.found(solution, image)
        assert other.by == "visit"
        shifts = [row.correction.shift for row in solution.images[:3]]
        np.testing.assert_allclose(other.correction.shift, np.mean(shifts, axis=0), atol=0.02)

    def test_another_visit_gets_nothing(self, solution):
        image = info("jw01345001003_02201_00001_nrca1_cal.fits", visit="003")
        assert self.found(solution, image)[0] is None

    def test_images_without_identifiers_have_nothing_in_common(self, solution):
        unknown = [replace(row, observation=ObservationIds()) for row in solution.images]
        image = replace(info("other_x_cal.fits"), observation=ObservationIds())
        assert self.found(Solution(tuple(unknown)), image)[0] is None


def test_the_corrections_of_a_file_are_applied_as_they_were_found(solution, tmp_path):
    row = read_solution(write_solution(solution, tmp_path / "s.ecsv")).images[0]
    xy = np.array([[1.0, 2.0], [30.0, -40.0]])
    expected = Correction(row.correction.matrix, row.correction.shift).apply(xy)
    np.testing.assert_array_equal(solution.images[0].correction.apply(xy), expected)
