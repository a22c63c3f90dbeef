"""tweakreg and its parts from the shell: what they write, what they say, how they end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from webbalign.cli import main
from webbalign.products.solutions import read_solution


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Two exposures of one visit and two of another, with a catalog like Gaia's."""
    folder = tmp_path_factory.mktemp("field")
    words = "--bands F300M --dithers 2 --size 300 --star-density 2500 --magnitudes 16,22 --quiet"
    assert main(["simulate", "mosaic", str(folder), *words.split(), "--gaia-limit", "23"]) == 0
    return folder


@pytest.fixture(scope="module")
def catalogs(field, tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogs")
    assert main(["find-stars", *images(field), "--output-dir", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def images(field):
    return sorted(map(str, field.glob("*_cal.fits")))


def lists(catalogs):
    return sorted(map(str, catalogs.glob("*_cat.ecsv")))


def association(field):
    (path,) = field.glob("*_asn.json")
    return str(path)


def shifts(folder):
    return {
        row.filename: np.array(row.correction.shift)
        for row in read_solution(folder / "tweakreg_solution.ecsv").images
    }


def test_the_table_names_every_image_and_the_status_is_0(field, tmp_path, capsys):
    gaia = str(field / "gaia.ecsv")
    assert main(["tweakreg", association(field), "--abs-refcat", gaia, "--output-dir", "out"]) == 0
    captured = capsys.readouterr()
    for name in images(field):
        (line,) = [row for row in captured.out.splitlines() if row.startswith(name.split("/")[-1])]
        assert "ALIGNED" in line
    assert "4 ALIGNED; " in captured.out
    assert f"stars of {gaia} used" in captured.out
    # the images, the stars of the solution, and its table
    assert "6 files written into out; this table: tweakreg_solution.ecsv" in captured.out
    assert captured.out.endswith("report: out/tweakreg_report.html\n")
    assert (tmp_path / "out/tweakreg_report.html").is_file()
    assert len(list(tmp_path.glob("out/*_tweakreg.fits"))) == 4
    assert not list(tmp_path.glob("out/.*"))


def test_a_report_is_left_out_when_it_is_not_wanted_and_made_again(field, tmp_path, capsys):
    words = [association(field), "--output-dir", "out", "--quiet", "--no-report"]
    assert main(["tweakreg", *words]) == 0
    assert not list(tmp_path.glob("out/*report*"))
    assert main(["report", "out", "--output-dir", "pages"]) == 0
    assert "report: pages/tweakreg_report.html" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "status"), [([], 3), (["--strict"], 1)])
def test_an_image_without_a_valid_pixel_shows_in_the_status(field, tmp_path, capsys, words, status):
    first, *others = images(field)
    blank = tmp_path / "blank_cal.fits"
    shutil.copy(first, blank)
    with fits.open(blank, mode="update") as hdulist:
        hdulist["SCI"].data[:] = np.nan
    words = [*words, "--output-dir", "out", "--executor", "serial"]
    assert main(["tweakreg", str(blank), *others, *words]) == status
    captured = capsys.readouterr()
    assert "FAILED: too few pixels are valid to measure a background (blank_cal.fits)" in (
        captured.out
    )
    assert "Traceback" not in captured.err
    assert len(list(tmp_path.glob("out/*_tweakreg.fits"))) == 4
    assert fits.getval(tmp_path / "out" / "blank_tweakreg.fits", "S_TWKREG") == "FAILED"


def test_a_service_that_does_not_answer_leaves_the_relative_alignment(
    catalogs, capsys, monkeypatch
):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("webbalign.products.gaia.WAITS", ())
    assert main(["solve", *lists(catalogs), "--abs-refcat", "GAIADR3"]) == 3
    captured = capsys.readouterr()
    assert "4 RELATIVE_ONLY; GAIADR3 was not used" in captured.out
    assert "Connection refused (http://127.0.0.1:9)" in captured.out
    assert "give a file to abs_refcat" in captured.out
    assert main(["solve", *lists(catalogs), "--abs-refcat", "GAIADR3", "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("--serchrad 3", 2, "did you mean --searchrad?"),
        ("--minobj 0", 2, "--minobj is 0 - give an integer (>= 1)"),
        ("--separation 0.5", 2, "option 'separation' is 0.5 - give at least sqrt(2) times"),
        ("--roundlo 0.5", 2, "option 'roundlo' is 0.5"),
        ("--kron-params 2.5,1.4", 2, "(3 values)"),
        ("--catalog-format votable", 2, "--catalog-format is 'votable' - give ecsv | fits"),
        ("--abs-refcat GAIADR9", 1, "no such file, and no catalog of that name - GAIADR9 - give "),
        ("--use-custom-catalogs --catfile no.txt", 1, "no such file - no.txt - give "),
        ("no_cal.fits", 1, "no such file - no_cal.fits - give "),
    ],
)
def test_what_cannot_be_followed_is_one_line_and_no_product(
    field, tmp_path, capsys, words, status, message
):
    words = [*words.split(), "--output-dir", "out", "--executor", "serial", "--quiet"]
    assert main(["tweakreg", *images(field)[:2], *words]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("webbalign: error: ")
    assert len(error.splitlines()) == (2 if status == 2 else 1)
    assert not list(tmp_path.glob("out/*.fits"))


@pytest.mark.slow
def test_parameters_that_were_saved_give_the_same_run(field, tmp_path):
    words = ["tweakreg", *images(field)[:2], "--executor", "serial", "--quiet"]
    ours = "--fitgeometry shift --no-sip-approx --use2dhist false --kron-params 2.5 --kron-params"
    ours = [*ours.split(), "1.4,0", "--brightest", "60", "--save-parameters", "p.asdf"]
    assert main([*words, *ours, "--output-dir", "a"]) == 0
    assert main([*words, "--config-file", "p.asdf", "--output-dir", "b"]) == 0
    for name, shift in shifts(tmp_path / "a").items():
        np.testing.assert_array_equal(shifts(tmp_path / "b")[name], shift)
    (said,) = {
        Table.read(tmp_path / folder / "tweakreg_solution.ecsv").meta["webbalign"]
        for folder in "ab"
    }
    for text in ("fitgeometry=shift", "sip_approx=False", "use2dhist=False", "brightest=60"):
        assert text in said
    assert "kron_params=(2.5, 1.4, 0.0)" in said or "kron_params=[2.5, 1.4, 0.0]" in said
    product = next((tmp_path / "b").glob("*_tweakreg.fits"))
    assert "A_ORDER" not in fits.getheader(product, "SCI")


@pytest.mark.slow
def test_models_that_stay_on_disk_give_the_same(field, tmp_path):
    words = ["tweakreg", *images(field)[:2], "--executor", "serial", "--quiet"]
    assert main([*words, "--output-dir", "a"]) == 0
    assert main([*words, "--output-dir", "b", "--no-in-memory"]) == 0
    for name, shift in shifts(tmp_path / "a").items():
        np.testing.assert_array_equal(shifts(tmp_path / "b")[name], shift)


@pytest.mark.slow
def test_hooks_run_before_and_after(field, tmp_path):
    words = ["tweakreg", *images(field)[:2], "--executor", "serial", "--quiet"]
    hooks = ["--pre-hooks", "touch before", "--post-hooks", "touch after"]
    assert main([*words, "--output-dir", "out", *hooks]) == 0
    made = {path.name.split()[0] for path in tmp_path.iterdir() if path.is_file()}
    assert {"before", "after"} <= made


def test_a_mended_catalog_is_solved_again(field, catalogs, tmp_path, capsys):
    mended = tmp_path / "mended"
    shutil.copytree(catalogs, mended)
    path = sorted(mended.glob("*_cat.ecsv"))[1]
    table = Table.read(path)
    table["xcentroid"][:3] += 30.0
    table.write(path, overwrite=True)
    assert main(["solve", *lists(catalogs), "--output-dir", "a", "--quiet"]) == 0
    assert main(["solve", *lists(mended), "--output-dir", "b"]) == 0
    assert "2 files written into b; this table: tweakreg_solution.ecsv" in capsys.readouterr().out
    for name, shift in shifts(tmp_path / "a").items():
        # three wrong stars of many are found out
        np.testing.assert_allclose(shifts(tmp_path / "b")[name], shift, atol=5e-4)


def test_a_solution_is_applied_to_its_images_and_to_no_others(field, catalogs, tmp_path, capsys):
    assert main(["solve", *lists(catalogs)[:2], "--quiet"]) == 0
    words = ["apply-solution", "tweakreg_solution.ecsv"]
    assert main([*words, *images(field)[:2], "--output-dir", "a", "--executor", "serial"]) == 0
    assert "2 images written, 0 without a correction" in capsys.readouterr().out
    # the second visit is no part of the solution
    assert main([*words, *images(field), "--output-dir", "b", "--executor", "serial"]) == 3
    assert "4 images written, 2 without a correction" in capsys.readouterr().out
    status = [fits.getval(p, "S_TWKREG") for p in sorted(tmp_path.glob("b/*_tweakreg.fits"))]
    assert status == ["COMPLETE", "COMPLETE", "FAILED", "FAILED"]
    words = [*words, *images(field), "--output-dir", "c", "--strict", "--quiet"]
    assert main([*words, "--executor", "serial"]) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("solve {field}/gaia.ecsv", "/gaia.ecsv - give x and y, or xcentroid and ycentroid"),
        ("solve {first} {first}", "_cat.ecsv - give one for each image"),
        ("solve {first} --abs-refcat {first}", "_cat.ecsv - give RA and DEC in degrees"),
        (
            "apply-solution {field}/gaia.ecsv {field}/no_cal.fits",
            "no such file - {field}/no_cal.fits - give ",
        ),
        ("apply-solution {first} {image}", "no column filename, group_id, status and 14 more"),
    ],
)
def test_files_of_the_wrong_kind_are_named(field, catalogs, capsys, command, message):
    words = command.format(field=field, first=lists(catalogs)[0], image=images(field)[0])
    message = message.format(field=field)
    assert main([*words.split(), "--output-dir", "out"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_the_stars_that_were_found_have_a_page(field, catalogs, tmp_path, capsys):
    assert "Image by image" in (catalogs / "find_stars_report.html").read_text()
    again = ["report", str(catalogs), "--images", str(field), "--output-dir", str(tmp_path)]
    assert main(again) == 0
    made = (tmp_path / "find_stars_report.html").read_text()
    assert made.count("_nrcalong: ") == 4
    assert "No warnings" in made


@pytest.mark.slow
def test_every_command_takes_an_association_as_well(field, catalogs, tmp_path):
    words = [association(field), "--executor", "serial", "--quiet"]
    assert main(["find-stars", *words, "--output-dir", "a"]) == 0
    assert len(list(tmp_path.glob("a/*_cat.ecsv"))) == 4
    assert main(["solve", *lists(catalogs), "--quiet"]) == 0
    assert main(["apply-solution", "tweakreg_solution.ecsv", *words, "--output-dir", "b"]) == 0
    assert len(list(tmp_path.glob("b/*_tweakreg.fits"))) == 4


def test_a_second_correction_does_not_go_unnoticed(field, catalogs, tmp_path, capsys):
    assert main(["solve", *lists(catalogs)[:2], "--quiet"]) == 0
    words = ["apply-solution", "tweakreg_solution.ecsv", "--executor", "serial"]
    assert main([*words, *images(field)[:2], "--output-dir", "a"]) == 0
    told = capsys.readouterr()
    assert "before" not in told.err
    page = Path("a/apply_solution_report.html")
    assert f"report: {page}" in told.out
    assert "How well the stars agree" in page.read_text()
    once = sorted(map(str, tmp_path.glob("a/*_tweakreg.fits")))
    assert main([*words, *once, "--output-dir", "b"]) == 0
    assert capsys.readouterr().err.count("had been corrected before") == 2
