"""The commands at work: what they hand on, what they write, how they end."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from webbalign.cli import main
from webbalign.core.errors import InputError


@pytest.fixture
def association(tmp_path):
    path = tmp_path / "x_asn.json"
    path.write_text("{}")
    return str(path)


@pytest.fixture
def pipeline(monkeypatch):
    """Replace the run of coron3; return what it was called with and what it will return."""
    from webbalign.pipelines import coron3

    record = SimpleNamespace(calls=[], status=0)

    def run(association, **options):
        record.calls.append((association, options))
        options["progress"].start("klip", 2)
        return SimpleNamespace(
            exit_status=record.status,
            summary=SimpleNamespace(text="the table", notes={"exposures": []}),
            files=[],
            model_path=None,
        )

    monkeypatch.setattr(coron3, "run", run)
    return record


def test_coron3_is_told_what_the_user_wrote_and_nothing_else(
    pipeline, association, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.fits").touch()
    words = [
        *("--klip.truncate", "20", "--align-refs.align-to", "first", association),
        *("--output-dir", "out", "--no-figure", "--resample.crval", "10,-5.5", "--workers", "2"),
        *("--executor", "threads", "--profile", "jwst", "--no-overwrite", "--stack-refs.pre-hooks"),
        *("f(a=1,b=2)", "--strict", "--align-refs.override-psfmask", "m.fits"),
    ]
    assert main(["coron3", *words]) == 0
    ((name, options),) = pipeline.calls
    assert name == association
    options.pop("progress")
    assert options == {
        "output_dir": "out",
        "figure": False,
        "workers": 2,
        "executor": "threads",
        "profile": "jwst",
        "overwrite": False,
        "steps": {
            "klip": {"truncate": 20},
            "align_refs": {"align_to": "first", "override_psfmask": "m.fits"},
            "resample": {"crval": [10.0, -5.5]},
            "stack_refs": {"pre_hooks": ["f(a=1,b=2)"]},
        },
    }
    assert capsys.readouterr().out == "the table\n"


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [(0, [], 0), (0, ["--strict"], 0), (3, [], 3), (3, ["--strict"], 1), (3, ["--no-strict"], 3)],
)
def test_an_image_that_was_not_aligned_shows_in_the_status(
    pipeline, association, status, words, expected
):
    pipeline.status = status
    assert main(["coron3", association, "--quiet", *words]) == expected


def test_quiet_prints_nothing(pipeline, association, capsys):
    assert main(["coron3", association, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_astropy_says_itself_stays_out(pipeline, association, monkeypatch, capsys):
    import astropy
    from astropy import log

    from webbalign.pipelines import coron3

    plain = coron3.run

    def run(association, **options):
        astropy.log.warning("a remark of astropy")
        return plain(association, **options)

    monkeypatch.setattr(coron3, "run", run)
    before = list(log.handlers)
    assert main(["coron3", association]) == 0
    assert "a remark of astropy" not in capsys.readouterr().err
    assert main(["coron3", association, "--verbose"]) == 0
    assert capsys.readouterr().err.count("a remark of astropy") == 1
    assert log.handlers == before


def test_an_unusable_association_is_one_line(capsys, association, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["coron3", association]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"webbalign: error: no products in the association - {association} - "
        "give at least one product\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x_asn.json"]


# A simulated sequence, small enough for every run of the tests ------------------------------------


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    words = "--nints 3 --ref-nints 1 --ref-dithers 3 --shape 64,64 --wavelengths 1 --quiet"
    assert main(["simulate", "coron3", str(folder), *words.split()]) == 0
    return folder


def test_simulate_writes_what_an_association_needs(sequence):
    (association,) = sequence.glob("*_asn.json")
    members = json.loads(association.read_text())["products"][0]["members"]
    assert sorted(member["exptype"] for member in members) == ["psf"] * 3 + ["science"] * 2
    assert all((sequence / member["expname"]).is_file() for member in members)


def test_simulate_mosaic_says_what_it_wrote(tmp_path, capsys):
    words = "--bands f300m --visits 1 --dithers 2 --size 64 --pointing-error 0.3,0.5 --no-noise"
    assert main(["simulate", "mosaic", str(tmp_path), *words.split()]) == 0
    assert "2 of F300M" in capsys.readouterr().out
    (association,) = tmp_path.glob("*_image3_asn.json")
    members = json.loads(association.read_text())["products"][0]["members"]
    assert sorted(member["expname"] for member in members) == sorted(
        path.name for path in tmp_path.glob("*_cal.fits")
    )
    assert all((tmp_path / f"{name}.ecsv").is_file() for name in ("truth", "stars", "gaia"))


def test_asn_finds_the_roles(sequence, tmp_path, capsys):
    files = sorted(map(str, sequence.glob("*_calints.fits")))
    output = tmp_path / "y_asn.json"
    assert main(["asn", *files, "--output", str(output), "--product-name", "y"]) == 0
    assert capsys.readouterr().out == f"{output}: 2 science, 3 psf members\n"
    product = json.loads(output.read_text())["products"][0]
    assert product["name"] == "y"
    assert [path.name for path in tmp_path.iterdir()] == ["y_asn.json"]
    assert main(["asn", *files]) == 0
    printed = json.loads(capsys.readouterr().out)
    roles = [member["exptype"] for member in printed["products"][0]["members"]]
    assert sorted(roles) == ["psf"] * 3 + ["science"] * 2


def test_coron3_from_the_command_line(sequence, tmp_path, capsys):
    (association,) = map(str, sequence.glob("*_asn.json"))
    output = tmp_path / "out"
    saved = tmp_path / "pars.asdf"
    words = ["--output-dir", str(output), "--klip.truncate", "2", "--save-parameters", str(saved)]
    assert main(["coron3", association, *words, "--no-figure"]) == 0
    captured = capsys.readouterr()
    suffixes = sorted(path.stem.rpartition("_")[2] for path in output.glob("*.fits"))
    assert suffixes == sorted(
        ["crfints"] * 5 + ["psfstack", "psfalign", "psfalign", "psfsub", "psfsub", "i2d"]
    )
    for path in output.iterdir():
        assert path.name in captured.out
    assert "\x1b" not in captured.out + captured.err
    assert "truncate: 2" in saved.read_text()
    # the file brings the parameters back
    again = tmp_path / "again"
    words = ["--output-dir", str(again), "--config-file", str(saved), "--no-figure", "--quiet"]
    assert main(["coron3", association, *words]) == 0
    assert sorted(p.name for p in again.iterdir()) == sorted(p.name for p in output.iterdir())
    assert main(["coron3", association, *words, "--no-overwrite"]) == 1


def test_the_dry_run_writes_nothing(sequence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (association,) = map(str, sequence.glob("*_asn.json"))
    assert main(["coron3", association, "--dry-run"]) == 0
    text = capsys.readouterr().out
    for member in json.loads((sequence / association).read_text())["products"][0]["members"]:
        assert member["expname"] in text
    assert list(tmp_path.iterdir()) == []


def test_the_steps_one_by_one(sequence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted(map(str, sequence.glob("*_calints.fits")))
    assert main(["outlier-detection", *files, "--quiet"]) == 0
    flagged = sorted(tmp_path.glob("*_crfints.fits"))
    assert len(flagged) == 5
    from astropy.io import fits

    is_psf = {path: fits.getval(path, "IS_PSF") for path in flagged}
    references = [str(path) for path in flagged if is_psf[path]]
    science = next(str(path) for path in flagged if not is_psf[path])
    assert main(["stack-refs", *references, "--output-file", "x_psfstack.fits", "--quiet"]) == 0
    assert main(["align-refs", science, "x_psfstack.fits", "--quiet"]) == 0
    (aligned,) = tmp_path.glob("*_psfalign.fits")
    assert aligned.with_name(f"{aligned.stem}_shifts.ecsv").is_file()
    assert main(["klip", science, str(aligned), "--truncate", "2", "--quiet"]) == 0
    (subtracted,) = tmp_path.glob("*_psfsub.fits")
    words = ["--output-file", "x_i2d.fits", "--quiet"]
    assert main(["resample", str(subtracted), *words]) == 0
    assert (tmp_path / "x_i2d.fits").is_file()
    assert not list(tmp_path.glob(".*"))


def test_psfmask_make_and_check(sequence, tmp_path, capsys):
    like = next(iter(sorted(sequence.glob("*_calints.fits"))))
    mask = tmp_path / "mask.fits"
    words = ["--like", str(like), "--radius", "5", "--output", str(mask)]
    assert main(["psfmask", "make", *words]) == 0
    capsys.readouterr()
    assert main(["psfmask", "check", str(mask)]) == 0
    assert main(["psfmask", "check", str(mask), str(like)]) == 1
    text = capsys.readouterr().out
    assert f"{mask}: a valid PSFMASK" in text
    assert f"{like}: " in text


def test_a_wrong_parameter_in_a_file_is_the_users_error(sequence, tmp_path, capsys):
    files = sorted(map(str, sequence.glob("*_calints.fits")))[:1]
    config = tmp_path / "pars.cfg"
    config.write_text('name = "klip"\nclass = "webbalign.steps.KlipStep"\nsnr = 5.0\n')
    words = ["--config-file", str(config), "--output-dir", str(tmp_path)]
    assert main(["klip", *files, *files, *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("webbalign: error: parameters refused (")
    assert "snr" in line
    assert line.endswith(") - give those that `webbalign COMMAND --help` names")


def test_errors_of_the_steps_arrive(tmp_path, capsys):
    text = tmp_path / "x_calints.fits"
    text.write_text("no FITS file")
    assert main(["outlier-detection", str(text), "--output-dir", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("webbalign: error: not readable as FITS (")
    assert f") - {text} - give " in line


def test_an_unknown_error_is_not_called_the_users(pipeline, association, monkeypatch, capsys):
    from webbalign.pipelines import coron3

    def run(association, **options):
        raise TypeError("broken")

    monkeypatch.setattr(coron3, "run", run)
    assert main(["coron3", association]) == 1
    assert "defect of webbalign" in capsys.readouterr().err

    def refuse(association, **options):
        raise InputError("a.fits", "empty", "a cube")

    monkeypatch.setattr(coron3, "run", refuse)
    assert main(["coron3", association]) == 1
    assert capsys.readouterr().err == "webbalign: error: empty - a.fits - give a cube\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("--resample.fillval x", 2, "option 'fillval' is 'x' - give a number, NAN or INDEF"),
        ("--align-refs.bad-bits x", 2, "option 'bad_bits' is 'x'"),
        ("--resample.good-bits x", 2, "option 'good_bits' is 'x'"),
        ("--mark 1,2,3", 2, "--mark is 1.0,2.0,3.0 - give pairs of RA and Dec"),
        ("--align-refs.override-psfmask no.fits", 1, "no such file - no.fits - give a PSFMASK"),
        ("--resample.output-wcs no.asdf", 1, "no such file - no.asdf - give an ASDF file"),
        ("--config-file no.asdf", 1, "no such file - no.asdf - give a parameter file"),
        (
            "--config-file x_asn.json",
            1,
            r"not readable \(.*\) - x_asn.json - give a parameter file",
        ),
        ("--output-dir x_asn.json", 1, "a file, not a folder - x_asn.json - give a folder"),
        ("--output-dir x_asn.json/out", 1, "a file, not a folder - x_asn.json - give a folder"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_any_work(
    pipeline, association, capsys, tmp_path, monkeypatch, words, status, message
):
    monkeypatch.chdir(tmp_path)
    assert main(["coron3", association, *words.split()]) == status
    assert pipeline.calls == []
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("word", ["N/A", "derived"])
def test_words_that_stand_for_a_mask_are_no_files(pipeline, association, word):
    assert main(["coron3", association, "--align-refs.override-psfmask", word]) == 0
    assert len(pipeline.calls) == 1


def test_a_name_without_a_folder_is_looked_for_in_the_current_folder():
    from webbalign.cli.run_steps import _calls

    assert _calls("align_refs", ["a/x.fits", "y.fits"]) == [["a/x.fits", "./y.fits"]]
