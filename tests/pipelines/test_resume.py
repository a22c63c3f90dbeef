"""Resuming coron3: what is finished is kept, what depends on a change is made again."""

import dataclasses
import logging
import shutil

import numpy as np
import pytest
from astropy.io import fits

from webbalign.pipelines.coron3 import run, status
from webbalign.products.provenance import State, survey

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(sequence, tmp_path_factory):
    """An undisturbed run."""
    return run(sequence.association, output_dir=tmp_path_factory.mktemp("whole"), figure=True)


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of its products."""
    return shutil.copytree(finished.model_path.parent, tmp_path / "out")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def suffix(name):
    """The suffix of a product, png for the figure."""
    stem, _, ending = name.rpartition(".")
    return ending if ending == "png" else stem.rpartition("_")[2]


def made(caplog):
    """The suffixes of the products that a run has made, not kept."""
    return [suffix(line.rpartition("/")[2]) for line in caplog.messages if line[:6] == "saved "]


@pytest.fixture
def resume(sequence, folder, caplog):
    def resume(**options):
        caplog.clear()
        caplog.set_level(logging.INFO, "webbalign")
        return run(
            sequence.association, output_dir=folder, resume=True, **{"figure": True, **options}
        )

    return resume


def test_nothing_is_made_again(resume, folder, finished, caplog):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = resume()
    assert made(caplog) == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in result.files] == [path.name for path in finished.files]
    assert result.summary.text.replace(str(folder), "") == finished.summary.text.replace(
        str(finished.model_path.parent), ""
    )


@SLOW
def test_without_resume_all_is_made_again(sequence, folder, caplog):
    caplog.set_level(logging.INFO, "webbalign")
    whole = contents(folder)
    result = run(sequence.association, output_dir=folder, figure=True)
    assert len(made(caplog)) == len(result.files) - 2  # the tables of shifts are not announced
    assert contents(folder) == whole


@pytest.mark.parametrize(
    "kind",
    ["crfints", "psfstack", pytest.param("psfalign", marks=SLOW), "psfsub",
     pytest.param("i2d", marks=SLOW), pytest.param("shifts", marks=SLOW)],
)  # fmt: skip
def test_what_is_missing_is_made_with_the_same_bits(resume, folder, kind):
    whole = contents(folder)
    for path in folder.glob(f"*_{kind}.*"):
        path.unlink()
    resume()
    assert contents(folder) == whole


@SLOW
def test_what_a_run_has_just_begun_with_is_enough(resume, folder):
    whole = contents(folder)
    for path in folder.iterdir():
        if not path.name.endswith("crfints.fits"):
            path.unlink()
    resume()
    assert contents(folder) == whole


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"steps": {"klip": {"truncate": 3}}}, {"psfsub", "i2d"}),
        ({"steps": {"resample": {"pixfrac": 0.8}}}, {"i2d"}),
        pytest.param({"steps": {"align_refs": {"median_box_length": 5}}},
                     {"psfalign", "psfsub", "i2d"}, marks=SLOW),
        ({"mark": [312.0, -31.0]}, {"png"}),
        pytest.param({"steps": {"outlier_detection": {"snr": "4.0 3.0"}}},
                     {"crfints", "psfstack", "psfalign", "psfsub", "i2d"}, marks=SLOW),
    ],
)  # fmt: skip
def test_a_changed_option_recomputes_what_depends_on_it(
    sequence, resume, folder, caplog, options, expected
):
    found = status(sequence.association, output_dir=str(folder), **options)
    stale = {suffix(item.path.name) for item in found if item.state is State.STALE} - {"shifts"}
    resume(**options)
    assert set(made(caplog)) - {"png"} == stale - {"png"} == expected - {"png"}
    assert "png" in made(caplog)
    found = status(sequence.association, output_dir=str(folder), figure=True, **options)
    assert {item.state for item in found} == {State.DONE}


@SLOW
def test_a_changed_input_recomputes_what_depends_on_it(sequence, folder, tmp_path, caplog):
    inputs = shutil.copytree(sequence.association.parent, tmp_path / "in")
    association = inputs / sequence.association.name
    changed, other = (inputs / name for name in sequence.science[:2])
    with fits.open(changed, mode="update") as hdulist:
        hdulist["SCI"].data[0, 40, 41] += 0.5
    shutil.copystat(inputs / sequence.psf[0], other)  # another time, the same content
    caplog.set_level(logging.INFO, "webbalign")
    run(association, output_dir=folder, resume=True, figure=True)
    assert made(caplog) == ["crfints", "psfalign", "psfsub", "i2d", "png"]
    undisturbed = tmp_path / "again"
    run(association, output_dir=undisturbed, figure=True)
    assert contents(undisturbed) == contents(folder)


@pytest.mark.parametrize(
    "kind",
    ["crfints", pytest.param("psfalign", marks=SLOW), pytest.param("psfsub", marks=SLOW), "i2d"],
)
def test_a_damaged_product_is_made_again(resume, folder, caplog, kind):
    whole = contents(folder)
    path = next(folder.glob(f"*_{kind}.fits"))
    with fits.open(path, mode="update") as hdulist:
        hdulist["SCI"].data[..., 40:42, 40:42] += 1
    resume()
    assert contents(folder) == whole
    assert f"{path}: changed (not what was written), is made again" in caplog.messages
    path.write_bytes(path.read_bytes()[:-2880])
    resume()
    assert contents(folder) == whole


def test_the_figure_shows_the_first_exposure_if_only_the_second_is_made(resume, folder, sequence):
    whole = contents(folder)
    second = sequence.science[1].replace("_calints.fits", "")
    for path in [*folder.glob(f"{second}*_psfsub.fits"), *folder.glob("*_i2d.*")]:
        path.unlink()
    resume()
    assert contents(folder) == whole


def test_leftovers_of_a_killed_run_are_swept(resume, folder):
    whole = contents(folder)
    leftover = folder / ".webbalign-partial" / "999999999-abc" / "x_psfalign.fits"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"begun")
    resume()
    assert contents(folder) == whole


@SLOW
def test_hooks_may_do_anything(resume, caplog):
    resume(steps={"klip": {"post_hooks": ["tests.pipelines.test_resume.hook"]}})
    assert "psfsub" in made(caplog)
    resume(steps={"klip": {"post_hooks": ["tests.pipelines.test_resume.hook"]}})
    assert "psfsub" in made(caplog)


def hook(model):
    return model


@SLOW
def test_the_profile_that_repairs_the_exposure_in_passing(sequence, tmp_path):
    out = tmp_path / "jwst"
    run(sequence.association, output_dir=out, profile="jwst")
    whole = contents(out)
    next(out.glob("*_psfsub.fits")).unlink()
    run(sequence.association, output_dir=out, profile="jwst", resume=True)
    assert contents(out) == whole


@SLOW
def test_without_the_aligned_references(sequence, tmp_path, caplog):
    out = tmp_path / "out"
    options = {"steps": {"align_refs": {"save_psfalign": False}, "klip": {"save_psf_model": True}}}
    run(sequence.association, output_dir=out, **options)
    whole = contents(out)
    caplog.set_level(logging.INFO, "webbalign")
    run(sequence.association, output_dir=out, resume=True, **options)
    assert made(caplog) == []
    next(out.glob("*_psfmodel.fits")).unlink()
    run(sequence.association, output_dir=out, resume=True, **options)
    assert contents(out) == whole


def test_status_of_a_folder_by_itself(folder):
    assert {item.state for item in survey(folder)} == {State.DONE}
    stack = next(folder.glob("*_psfstack.fits"))
    with fits.open(stack, mode="update") as hdulist:
        hdulist["SCI"].data[0] = np.pi
    found = {item.path.name: item.state for item in survey(folder)}
    assert found[stack.name] is State.CHANGED
    wanted = {name: State.STALE for name in found if "psfalign" in name or "psfsub" in name}
    assert wanted.items() <= found.items()
    (folder / "other.fits").write_bytes(b"nothing")
    assert dataclasses.asdict(survey(folder)[-1])["state"] is State.FOREIGN


def test_status_of_what_is_missing(sequence, folder):
    next(folder.glob("*_psfstack.fits")).unlink()
    found = status(sequence.association, output_dir=str(folder))
    states = {item.path.stem.rpartition("_")[2]: item.state for item in found}
    assert states == {
        "crfints": State.DONE, "psfstack": State.MISSING, "psfalign": State.STALE,
        "shifts": State.STALE, "psfsub": State.STALE, "i2d": State.STALE,
    }  # fmt: skip
