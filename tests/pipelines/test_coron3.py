import json
import logging
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from stdatamodels.jwst import datamodels

from webbalign.core.errors import InputError, OptionError, WebbalignError
from webbalign.execution.executors import ExecutorError
from webbalign.pipelines import Coron3Pipeline
from webbalign.pipelines.coron3 import plan, run
from webbalign.products import held
from webbalign.products.atomic import PARTIAL


@pytest.fixture(scope="module")
def finished(sequence, tmp_path_factory):
    """One run with the default options."""
    companion = json.loads(sequence.truth.read_text())["companion"]
    return run(
        sequence.association,
        output_dir=tmp_path_factory.mktemp("out"),
        figure=True,
        mark=[companion["ra"], companion["dec"]],
    )


def copy(sequence, tmp_path):
    for path in sequence.association.parent.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / sequence.association.name


def test_all_products_of_the_table_are_written(finished, sequence):
    names = sorted(path.name for path in finished.files)
    expected = []
    for member in (*sequence.science, *sequence.psf):
        expected.append(member.replace("_calints", "_c1001_crfints"))
    for member in sequence.science:
        base = member.replace("_calints.fits", "_c1001")
        expected += [f"{base}_psfalign.fits", f"{base}_psfalign_shifts.ecsv", f"{base}_psfsub.fits"]
    product = json.loads(sequence.association.read_text())["products"][0]["name"]
    expected += [f"{product}_psfstack.fits", f"{product}_i2d.fits", f"{product}_i2d.png"]
    assert names == sorted(expected)
    assert sorted(p.name for p in finished.model_path.parent.iterdir()) == names


MODELS = {
    "crfints": datamodels.CubeModel, "psfstack": datamodels.CubeModel,
    "psfalign": datamodels.QuadModel, "psfsub": datamodels.CubeModel, "i2d": datamodels.ImageModel,
}  # fmt: skip
STATUS = {
    "crfints": "S_OUTLIR", "psfstack": "S_PSFSTK", "psfalign": "S_PSFALI", "psfsub": "S_KLIP",
    "i2d": "S_RESAMP",
}  # fmt: skip


def test_every_product_opens_and_validates(finished):
    for path in finished.files:
        if path.suffix != ".fits":
            continue
        suffix = path.stem.rpartition("_")[2]
        with datamodels.open(path) as model:
            model.validate()
            assert type(model) is MODELS[suffix]
            assert model.meta.filename == path.name
        with fits.open(path) as hdulist:
            hdulist.verify("exception")
            assert hdulist[0].header[STATUS[suffix]] == "COMPLETE"
            assert hdulist[0].header["FILENAME"] == path.name


def test_headers_agree_with_the_gwcs(finished):
    for path in finished.files:
        if path.stem.endswith(("psfsub", "i2d")) and path.suffix == ".fits":
            with datamodels.open(path) as model, fits.open(path) as hdulist:
                x, y = np.meshgrid(*[np.linspace(5, n - 6, 7) for n in model.shape[::-1][:2]])
                sky = model.meta.wcs(x, y, with_bounding_box=False)
                back = WCS(hdulist["SCI"].header, naxis=2).all_world2pix(*sky, 0)
            np.testing.assert_allclose(back, [x, y], atol=0.01)


def test_the_companion_is_where_it_was_put(finished, truth):
    with datamodels.open(finished.model_path) as image:
        companion = truth["companion"]
        x, y = image.meta.wcs.invert(companion["ra"], companion["dec"])
        box = image.data[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        peak = np.unravel_index(np.nanargmax(box), box.shape)
        assert np.hypot(peak[1] - 4 + round(x) - x, peak[0] - 4 + round(y) - y) < 1.2
        significance = image.data[round(y), round(x)] / image.err[round(y), round(x)]
    assert significance > 5


def test_psfsub_says_what_is_common_to_all_integrations(finished):
    (path, _) = [path for path in finished.files if path.stem.endswith("psfsub")]
    with fits.open(path) as hdulist:
        common = hdulist["VAR_COMMON"].data
        err = hdulist["ERR"].data
    assert common.shape == err.shape[1:]
    good = np.isfinite(err) & np.isfinite(common)
    assert good.mean() > 0.9
    assert (err[good] ** 2 >= np.broadcast_to(common, err.shape)[good] * (1 - 1e-5)).all()


def test_no_repaired_pixel_becomes_data(finished, sequence):
    (path, _) = [path for path in finished.files if path.stem.endswith("psfsub")]
    with fits.open(path) as sub:
        bad = sub["DQ"].data & 1 != 0
        assert bad.any()
        assert np.isnan(sub["SCI"].data[bad]).all()


def test_summary_tells_the_gain(finished):
    for row in finished.summary.rows:
        assert row.status == "ALIGNED"
        assert 0 < row.shift < 1
        assert row.shift_err < 0.05
        assert (row.rms_after < row.rms_before).all()
    assert finished.exit_status == 0
    assert "ALIGNED" in finished.summary.text
    assert finished.figure.stat().st_size > 10_000


def test_call_returns_the_combined_image(sequence, tmp_path):
    image = Coron3Pipeline.call(
        str(sequence.association), output_dir=str(tmp_path), configure_log=False,
        steps={"klip": {"truncate": 3}, "align_refs": {"align_to": "first"}},
    )  # fmt: skip
    assert isinstance(image, datamodels.ImageModel)
    assert (tmp_path / image.meta.filename).is_file()
    path = sorted(tmp_path.glob("*_psfalign.fits"))[0]
    assert fits.getval(path, "NAXIS", "SCI") == 3
    (sub, _) = sorted(tmp_path.glob("*_psfsub.fits"))
    assert "truncate=3" in str(fits.getheader(sub)["HISTORY"])


def test_threads_give_the_same_pixels(sequence, finished, tmp_path):
    result = run(sequence.association, output_dir=tmp_path, executor="threads", workers=2)
    with fits.open(result.model_path) as new, fits.open(finished.model_path) as old:
        np.testing.assert_array_equal(new["SCI"].data, old["SCI"].data)
        np.testing.assert_array_equal(new["ERR"].data, old["ERR"].data)


def test_without_the_4d_product_the_result_is_the_same(sequence, finished, tmp_path):
    steps = {"align_refs": {"save_psfalign": False}}
    result = run(sequence.association, output_dir=tmp_path, steps=steps)
    assert not list(tmp_path.glob("*psfalign*"))
    with fits.open(result.model_path) as new, fits.open(finished.model_path) as old:
        np.testing.assert_allclose(new["SCI"].data, old["SCI"].data, rtol=1e-5, atol=1e-4)


def test_without_the_4d_product_the_errors_are_the_same(sequence, finished, tmp_path):
    steps = {"align_refs": {"save_psfalign": False}}
    result = run(sequence.association, output_dir=tmp_path, steps=steps)
    with fits.open(result.model_path) as new, fits.open(finished.model_path) as old:
        np.testing.assert_allclose(new["ERR"].data, old["ERR"].data, rtol=1e-3)


def test_combined_about_the_star(sequence, tmp_path):
    steps = {"resample": {"combine_on": "star"}, "align_refs": {"align_to": "first"}}
    result = run(sequence.association, output_dir=tmp_path, steps=steps)
    assert result.model_path.is_file()


def test_miri_without_variances(miri_sequence, tmp_path):
    result = run(miri_sequence.association, output_dir=tmp_path)
    assert result.exit_status == 0
    with fits.open(result.model_path) as hdulist:
        seen = hdulist["WHT"].data > 0
        assert np.isfinite(hdulist["ERR"].data[seen]).all()


def test_profile_jwst_runs(sequence, tmp_path):
    result = run(sequence.association, output_dir=tmp_path, profile="jwst")
    with fits.open(result.model_path) as hdulist:
        assert np.isfinite(hdulist["SCI"].data).any()
    (path, _) = sorted(tmp_path.glob("*_psfalign.fits"))
    assert fits.getval(path, "NAXIS", "SCI") == 3


def test_skipped_steps(sequence, tmp_path, caplog):
    skips = {"align_refs": {"skip": True}, "outlier_detection": {"skip": True}}
    result = run(sequence.association, output_dir=tmp_path / "a", steps=skips)
    assert result.exit_status == 3
    assert not list((tmp_path / "a").glob("*crfints*"))
    steps = {"klip": {"skip": True}, "align_refs": {"align_to": "first"}}
    run(sequence.association, output_dir=tmp_path / "b", steps=steps)
    (path, _) = sorted((tmp_path / "b").glob("*_psfsub.fits"))
    assert fits.getval(path, "S_KLIP") == "SKIPPED"
    steps = {"resample": {"skip": True}, "align_refs": {"align_to": "first"}}
    result = run(sequence.association, output_dir=tmp_path / "c", steps=steps)
    assert result.model_path is None
    with pytest.raises(OptionError, match="stack_refs"):
        run(sequence.association, output_dir=tmp_path, steps={"stack_refs": {"skip": True}})


def label(model):
    """A hook that changes the header."""
    model.meta.observation.observation_label = "hooked"
    return model


def test_hooks_are_run_and_their_changes_kept(sequence, tmp_path):
    hook = f"{__name__}.label"
    steps = {"outlier_detection": {"post_hooks": [hook]}, "align_refs": {"align_to": "first"}}
    Coron3Pipeline.call(
        str(sequence.association), output_dir=str(tmp_path), steps=steps,
        configure_log=False,
    )  # fmt: skip
    for path in tmp_path.glob("*_crfints.fits"):
        assert fits.getval(path, "OBSLABEL") == "hooked"


def test_long_exposures_kept_in_files_give_the_same_products(sequence, tmp_path, monkeypatch):
    def products(folder):
        steps = {"klip": {"save_psf_model": True}, "align_refs": {"save_psfalign": False}}
        return run(sequence.association, output_dir=tmp_path / folder, steps=steps).files

    expected = products("memory")
    monkeypatch.setattr(held, "SMALL", 0)
    found = products("file")
    assert [path.name for path in found] == [path.name for path in expected]
    for one, other in zip(expected, found, strict=True):
        with fits.open(one) as first, fits.open(other) as second:
            images = [hdu for hdu in first if isinstance(hdu, fits.ImageHDU)]
            assert images
            for hdu in images:
                np.testing.assert_array_equal(hdu.data, second[hdu.name].data)


@pytest.mark.parametrize("what", ["missing", "nan", "two-dimensional", "mixed", "no psf"])
def test_bad_input_is_one_clear_error_and_no_product(sequence, tmp_path, what):
    (tmp_path / "in").mkdir()
    association = copy(sequence, tmp_path / "in")
    member = tmp_path / "in" / sequence.psf[2]
    if what == "missing":
        member.unlink()
    elif what == "mixed":
        fits.setval(member, "FILTER", value="F444W")
    elif what == "no psf":
        content = json.loads(association.read_text())
        members = content["products"][0]["members"]
        content["products"][0]["members"] = [m for m in members if m["exptype"] == "science"]
        association.write_text(json.dumps(content))
    else:
        with fits.open(member, memmap=False) as hdulist:
            if what == "nan":
                hdulist["SCI"].data[:] = np.nan
            else:
                hdulist["SCI"].data = hdulist["SCI"].data[0]
            hdulist.writeto(member, overwrite=True)
    with pytest.raises(InputError) as error:
        run(association, output_dir=tmp_path / "out")
    at_fault = association.name if what == "no psf" else member.name
    assert at_fault in str(error.value)
    assert not list((tmp_path / "out").glob("*"))


def test_no_overwrite_refuses_before_replacing(sequence, finished):
    folder = finished.model_path.parent
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(WebbalignError, match="exists already"):
        run(sequence.association, output_dir=folder, overwrite=False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_no_overwrite_refuses_before_any_work(sequence, finished, tmp_path):
    last = tmp_path / finished.model_path.name
    last.write_bytes(b"something of mine")
    with pytest.raises(WebbalignError, match=rf"exists already - .*{last.name} - "):
        run(sequence.association, output_dir=tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [last.name]


def test_plan_names_members_mask_and_sizes_and_writes_nothing(sequence, tmp_path):
    text = plan(sequence.association, output_dir=str(tmp_path / "new"))
    for member in (*sequence.science, *sequence.psf):
        assert f"{member}: " in text
    assert "4 x 80 x 80" in text
    assert "psfmask    derived" in text
    assert "GB free" in text
    assert not (tmp_path / "new").exists()


def test_plan_refuses_what_the_run_would_refuse(sequence, tmp_path):
    with pytest.raises(OptionError, match="snr"):
        plan(sequence.association, steps={"outlier_detection": {"snr": "many"}})
    with pytest.raises(ExecutorError, match="no executor 'cloud'"):
        plan(sequence.association, executor="cloud")


def test_plan_says_when_the_disk_is_too_small(sequence, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "NOT ENOUGH" in plan(sequence.association, output_dir=str(tmp_path))


def test_inputs_are_never_replaced(sequence, tmp_path):
    association = copy(sequence, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*_calints.fits")}
    run(association, output_dir=tmp_path)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content


def test_parameters_are_saved(sequence, tmp_path):
    file = tmp_path / "coron3.asdf"
    steps = {"klip": {"truncate": 4}, "align_refs": {"align_to": "first"}}
    run(sequence.association, output_dir=tmp_path, steps=steps, save_parameters=file)
    again = Coron3Pipeline.create(str(sequence.association), config_file=str(file))
    assert again.klip.truncate == 4
    assert again.align_refs.align_to == "first"


def test_ignored_members_are_named(sequence, tmp_path, caplog):
    association = copy(sequence, tmp_path)
    content = json.loads(association.read_text())
    content["products"][0]["members"].append({"expname": "x.fits", "exptype": "background"})
    association.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert "ignored    x.fits (background)" in plan(association)
        run(association, output_dir=tmp_path / "o")
    assert "x.fits: member of exptype 'background' takes no part" in caplog.text


def test_too_little_memory_is_refused_before_any_work(sequence, tmp_path):
    with pytest.raises(OptionError, match=r"'memory' is 0.20 GB.*at least"):
        run(sequence.association, output_dir=tmp_path, memory="200MB")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_other_processes_write_the_same_products_to_the_bit(
    sequence, tmp_path, monkeypatch, executor
):
    if executor == "dask":
        pytest.importorskip("distributed")
    found = {}
    for name, words in (
        ("here", {}),
        ("elsewhere", {"executor": executor, "workers": 2, "memory": "1GB"}),
    ):
        folder = tmp_path / name
        monkeypatch.chdir(tmp_path)  # workers may have another current folder
        run(sequence.association, output_dir=name, figure=False, **words)
        found[name] = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        assert not (folder / PARTIAL).exists()
    assert sorted(found["here"]) == sorted(found["elsewhere"])
    for name, content in found["here"].items():
        assert content == found["elsewhere"][name], name
