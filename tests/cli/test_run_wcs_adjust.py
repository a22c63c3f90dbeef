"""wcs-adjust from the shell: what it writes, what it says, how it ends."""

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from webbalign.cli import main
from webbalign.products.wcs_adjust_file import read_wcs_adjust
from webbalign.simulate import MosaicSimulation, simulate_mosaic


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    options = MosaicSimulation(
        bands=("F300M",), dithers=1, size=320, star_density=3000.0, magnitudes=(16.0, 22.0),
        galaxies=0.0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("fields") / "m51"
    simulate_mosaic(folder / "F300M", options)  # (one band lies in the folder itself)
    return folder


@pytest.fixture(scope="module")
def made(target, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    words = ["--executor", "serial", "--figure", "--quiet", "--output-dir", str(folder)]
    assert main(["wcs-adjust", "get", str(target), "--bands", "F300M", *words]) == 0
    return folder


def test_get_writes_table_and_picture(made):
    table = read_wcs_adjust(made / "m51_wcs_adjust.toml")
    assert len(table.entries) == 4
    assert table.run["target"] == "m51"
    picture = (made / "m51_wcs_adjust.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_get_prints_the_table_and_remembers(target, made, capsys, tmp_path):
    words = ["--executor", "serial", "--output-dir", str(made)]
    assert main(["wcs-adjust", "get", str(target), "--bands", "F300M", *words]) == 0
    captured = capsys.readouterr()
    assert "2 visits: 1 ALIGNED, 1 REFERENCE; 2 exposures" in captured.out
    assert "measured already" in captured.err
    assert "find stars" not in captured.err


def test_show_prints_it_again(made, capsys, tmp_path):
    table = str(made / "m51_wcs_adjust.toml")
    assert main(["wcs-adjust", "show", table, "--figure-file", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "jw09998001002_02101_00001" in out
    assert (tmp_path / "a.png").is_file()
    assert main(["wcs-adjust", "show", table, "--no-exposures"]) == 0
    assert "_02101_" not in capsys.readouterr().out


def test_apply_writes_all_images(target, made, capsys, tmp_path):
    table = str(made / "m51_wcs_adjust.toml")
    words = ["--executor", "serial", "--output-dir", str(tmp_path)]
    assert main(["wcs-adjust", "apply", table, str(target / "F300M"), *words]) == 0
    names = sorted(path.name for path in (target / "F300M").glob("*_cal.fits"))
    assert sorted(path.name for path in tmp_path.glob("*.fits")) == names
    assert "2 images written, 0 without a correction" in capsys.readouterr().out
    assert "What became of the visits" in (tmp_path / "m51_wcs_adjust_report.html").read_text()
    words[-1] = str(tmp_path / "again")
    assert main(["wcs-adjust", "apply", table, str(tmp_path), *words, "--no-report"]) == 0
    assert capsys.readouterr().err.count("had been corrected before") == 1  # one is the reference


@pytest.mark.parametrize(("words", "status"), [([], 3), (["--strict"], 1)])
def test_an_image_without_a_correction_is_named(target, capsys, tmp_path, words, status):
    table = tmp_path / "pjpipe.toml"
    table.write_text("[wcs_adjust]\n\njw09998001001.shift = [0.1, 0.0]\n")
    words = [*words, "--executor", "serial", "--output-dir", str(tmp_path / "out")]
    assert main(["wcs-adjust", "apply", str(table), str(target / "F300M"), *words]) == status
    out = capsys.readouterr().out
    assert "jw09998001002_02101_00001_nrcalong_cal.fits: copied unchanged" in out
    assert "2 images written, 1 without a correction" in out


def test_a_visit_that_is_not_aligned_ends_with_3(target, capsys, tmp_path):
    folder = tmp_path / "blank" / "F300M"
    folder.mkdir(parents=True)
    for path in (target / "F300M").glob("*_cal.fits"):
        with fits.open(path) as hdulist:
            if "1002_" in path.name:
                noise = np.random.default_rng(1).normal(0, 0.01, hdulist["SCI"].data.shape)
                hdulist["SCI"].data[:] = 1 + noise
            hdulist.writeto(folder / path.name)
    words = ["--bands", "F300M", "--executor", "serial", "--output-dir", str(tmp_path)]
    assert main(["wcs-adjust", "get", str(folder.parent), *words]) == 3
    assert "jw09998001002: UNCHANGED" in capsys.readouterr().out
    assert main(["wcs-adjust", "show", str(tmp_path / "blank_wcs_adjust.toml")]) == 3


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["get", "nowhere", "--bands", "F300M"], 1, "no such folder - nowhere - give "),
        (["get", "{target}"], 2, "--bands"),
        (
            ["get", "{target}", "--bands", "F300M,F999W"],
            1,
            "no such folder beside F300M - {target}/F999W - give ",
        ),
        (["get", "{target}", "--bands", "F300M", "--method", "magic"], 2, "magic"),
        (["get", "{target}", "--bands", "F300M", "--group-dithers", "acs"], 2, "group-dithers"),
        (["get", "{target}", "--bands", "F300M", "--alignment-catalog", "no.fits"], 1, "no.fits"),
        (
            ["get", "{target}", "--bands", "F300M", "--tweakreg-parameters-file", "no.toml"],
            1,
            "no.toml",
        ),
        (["show", "nowhere.toml"], 1, "no such file"),
        (["apply", "nowhere.toml", "{target}"], 1, "no such file"),
        (
            ["apply", "nowhere.toml"],
            2,
            "nowhere.toml after webbalign wcs-adjust apply - give TABLE FOLDER",
        ),
    ],
)
def test_mistakes_are_one_line(target, tmp_path, monkeypatch, capsys, words, status, text):
    monkeypatch.chdir(tmp_path)
    words = [word.format(target=target) for word in words]
    assert main(["wcs-adjust", *words]) == status
    err = capsys.readouterr().err
    assert text.format(target=target) in err
    assert "Traceback" not in err


def test_parameters_come_from_a_file_of_pjpipe(target, tmp_path):
    parameters = tmp_path / "config.toml"
    parameters.write_text(
        "[parameters.get_wcs_adjust.tweakreg_parameters]\nbrightest = 90\nsearchrad.nircam = 3\n"
    )
    words = ["--tweakreg-parameters-file", str(parameters), "--executor", "serial", "--quiet"]
    words += ["--bands", "F300M", "--output-dir", str(tmp_path)]
    assert main(["wcs-adjust", "get", str(target), *words]) == 0
    table = read_wcs_adjust(tmp_path / "m51_wcs_adjust.toml")
    used = table.run["bands"]["F300M"]["tweakreg_parameters"]
    assert used["brightest"] == 90
    assert used["searchrad"] == 3.0


@pytest.mark.parametrize("command", ["get", "apply", "show"])
def test_help_imports_nothing_slow(command):
    code = (
        "import sys; from webbalign.cli import main; "
        f"assert main(['wcs-adjust', '{command}', '--help']) == 0; "
        "slow = {'astropy', 'scipy', 'asdf', 'gwcs', 'stdatamodels', 'stpipe', 'matplotlib'}; "
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_options_of_the_correlation_arrive(target, tmp_path, monkeypatch, capsys):
    from webbalign.pipelines import wcs_adjust
    from webbalign.products.wcs_adjust_file import WcsAdjust

    got = {}
    monkeypatch.setattr(
        wcs_adjust, "get_wcs_adjust", lambda images, **options: got.update(options) or WcsAdjust(())
    )
    words = ["--method", "{nircam: combined}", "--mix-bands", "--corr-searchrad", "1.5",
             "--no-corr-rotation", "--corr-flow", "--corr-minpix", "5000", "--no-stack-align",
             "--output-dir", str(tmp_path), "--executor", "serial"]  # fmt: skip
    main(["wcs-adjust", "get", str(target), "--bands", "F300M", *words])
    given = {"corr_searchrad": 1.5, "corr_rotation": False, "corr_flow": True,
             "corr_minpix": 5000, "stack_align": False, "mix_bands": True,
             "method": "{nircam: combined}"}  # fmt: skip
    assert {name: got[name] for name in given} == given
    assert "corr_block" not in got
    capsys.readouterr()
    bad = ["--corr-minpix", "3"]
    assert main(["wcs-adjust", "get", str(target), "--bands", "F300M", *bad]) == 2
    assert "--corr-minpix" in capsys.readouterr().err
