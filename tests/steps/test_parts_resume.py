"""Resuming the parts of tweakreg, and wcs adjust apply: what is the same is kept."""

import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.products.corrector import Correction
from webbalign.products.provenance import State, survey
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection, WcsAdjust
from webbalign.steps.tweakreg_parts import apply_solution, find_stars, solve


@pytest.fixture(scope="module")
def first(mosaic, tmp_path_factory):
    """Images, their catalogs, solution and products, made by an undisturbed run."""
    folder = tmp_path_factory.mktemp("first")
    files = [str(shutil.copy(path, folder)) for path in mosaic.files["F300M"][::2]]
    out = folder / "out"
    found = find_stars(files, output_dir=out, snr_threshold=20.0)
    solve([item.catalog for item in found], output_dir=out)
    apply_solution(out / "tweakreg_solution.ecsv", files, output_dir=out)
    return folder


@pytest.fixture
def run(first, tmp_path, caplog):
    """Return a way to resume all in a copy of the folder; it returns the names made anew."""
    folder = shutil.copytree(first, tmp_path / "again")
    files = sorted(map(str, folder.glob("*_cal.fits")))

    def run(catalogs=None, **options):
        caplog.clear()
        caplog.set_level(logging.INFO, "webbalign")
        out = folder / "out"
        before = {path.name: path.stat().st_ino for path in out.iterdir()}
        given = {"snr_threshold": 20.0} | options
        found = find_stars(files, output_dir=out, resume=True, **given)
        solution = solve([item.catalog for item in found], output_dir=out, resume=True)
        done = apply_solution(out / "tweakreg_solution.ecsv", files, output_dir=out, resume=True)
        assert [item.kept for item in done] == [
            before.get(item.path.name) == item.path.stat().st_ino for item in done
        ]
        assert len(solution.images) == len(files)
        after = {path.name: path.stat().st_ino for path in out.iterdir()}
        return {name for name, number in after.items() if before.get(name) != number}

    run.folder, run.files = folder, files
    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_all_is_kept_and_what_is_lost_is_made_again_to_the_bit(run, first):
    whole = contents(first)
    assert contents(run.folder) == whole
    assert run() == set()
    for ending in ("_cat.asdf", "_tweakreg.fits", "solution.ecsv"):
        lost = next((run.folder / "out").glob(f"*{ending}"))
        lost.unlink()
        made = run()
        # a table and what lies beside it under its name are one
        assert made == {path.name for path in (run.folder / "out").glob(f"{lost.stem}.*")}
        assert contents(run.folder) == whole


def test_a_changed_image_changes_what_depends_on_it(run):
    with fits.open(run.files[0], mode="update") as hdulist:
        hdulist["SCI"].data[40:60, 40:60] += np.float32(3.0)
    name = run.files[0].rpartition("/")[2].removesuffix("_cal.fits")
    made = run()
    catalogs = {item for item in made if "_cat." in item}
    assert catalogs == {f"{name}_cat.ecsv", f"{name}_cat.asdf"}
    assert f"{name}_tweakreg.fits" in made
    assert run() == set()


def test_a_changed_option_changes_what_depends_on_it(run, caplog):
    made = run(snr_threshold=25.0)
    assert len([name for name in made if name.endswith("_cat.ecsv")]) == len(run.files)
    assert "tweakreg_solution.ecsv" in made
    assert any("snr_threshold 20.0, now 25.0" in line for line in caplog.messages)
    # the search does not depend on how a header is written
    out = run.folder / "out"
    done = apply_solution(
        out / "tweakreg_solution.ecsv", run.files, output_dir=out, resume=True, sip_degree=4
    )
    assert not any(item.kept for item in done)
    assert run(snr_threshold=25.0) == {item.path.name for item in done}


def test_an_edited_catalog_is_solved_anew(run):
    out = run.folder / "out"
    lists = sorted(out.glob("*_cat.ecsv"))
    table = Table.read(lists[0])
    table[5:].write(lists[0], format="ascii.ecsv", overwrite=True)
    solve(lists, output_dir=out, resume=True)
    assert (out / "tweakreg_solution.ecsv").read_bytes() != contents(run.folder.parent / "again")
    found = {item.path.name: item for item in survey(out)}
    assert found[lists[0].name].state is State.FOREIGN
    assert found["tweakreg_solution.ecsv"].state is State.DONE


def test_a_solution_without_the_catalog_of_a_service_is_not_kept(run, monkeypatch):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("webbalign.products.gaia.WAITS", ())
    out = run.folder / "out"
    asked = {"output_dir": out, "resume": True, "abs_refcat": "GAIADR3"}
    solve(sorted(out.glob("*_cat.ecsv")), **asked)
    found = {item.path.name: item.state for item in survey(out)}
    assert found["tweakreg_solution.ecsv"] is State.FOREIGN


def test_status_names_what_is_stale_and_missing(run):
    out = run.folder / "out"
    assert {item.state for item in survey(out, run.files)} == {State.DONE}
    image, other = run.files[0], run.files[1]
    name = other.rpartition("/")[2].replace("_cal", "_tweakreg")
    (out / name).unlink()
    with fits.open(image, mode="update") as hdulist:
        hdulist["SCI"].data[0, 0] += np.float32(1.0)
    told = {item.path.name: item for item in survey(out, run.files)}
    stale = {key for key, item in told.items() if item.state is State.STALE}
    root = image.rpartition("/")[2].removesuffix("_cal.fits")
    assert stale == {f"{root}_cat.ecsv", f"{root}_tweakreg.fits", "tweakreg_solution.ecsv"}
    missing = [item for item in told.values() if item.state is State.MISSING]
    assert [item.reasons for item in missing] == [("nothing made from it by apply-solution",)]
    assert str(missing[0].path) == other


@pytest.mark.slow
def test_catalogs_are_the_same_in_any_process(run, first, tmp_path):
    code = (
        "import sys; from webbalign.steps.tweakreg_parts import find_stars;"
        "find_stars(sys.argv[2:], output_dir=sys.argv[1], snr_threshold=20.0)"
    )
    whole = contents(first)
    folder = tmp_path / "other"
    command = [sys.executable, "-c", code, str(folder), *run.files[:1]]
    for seed in ("1", "2"):
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        for path in folder.iterdir():
            assert path.read_bytes() == whole[path.name]


def test_wcs_adjust_apply_keeps_what_is_the_same(run, caplog):
    visits = sorted({path.rpartition("/")[2][:13] for path in run.files})
    assert len(visits) == 2

    def apply(shift, **options):
        caplog.clear()
        entries = [
            VisitCorrection(
                parse_key(visit), Correction(np.eye(2), np.array([0.1, step])),
                status=AdjustStatus.ALIGNED,
            )
            for visit, step in zip(visits, (0.2, shift), strict=True)
        ]  # fmt: skip
        table, out = WcsAdjust(tuple(entries), {}), run.folder / "adjusted"
        done = apply_wcs_adjust(table, run.files, output_dir=out, **options)
        assert all(item.is_aligned for item in done)
        return {item.path.name[:13] for item in done if not item.kept}

    assert apply(0.3) == set(visits)
    whole = {path: path.read_bytes() for path in (run.folder / "adjusted").iterdir()}
    assert apply(0.3, resume=True, overwrite=False) == set()
    assert apply(0.4, resume=True) == {visits[1]}
    assert apply(0.3, resume=True) == {visits[1]}
    assert {path: path.read_bytes() for path in whole} == whole
    assert {item.state for item in survey(run.folder / "adjusted")} == {State.DONE}
