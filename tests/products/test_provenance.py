import json
import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.products import models
from webbalign.products.atomic import atomic_path
from webbalign.products.content import content_hash
from webbalign.products.provenance import (
    Provenance,
    Recipe,
    State,
    judge,
    keep,
    of_inputs,
    read_provenance,
    survey,
)

RECIPE = Recipe("klip", {"truncate": "50"}, {"a_crfints.fits": "0" * 32}, "1.2.3")


def cube(path, value=1.0, recipe=None):
    model = models.new_cube(
        CubeModel(),
        np.full((2, 30, 40), value),
        np.ones((2, 30, 40)),
        np.zeros((2, 30, 40)),
    )
    return models.save(model, path, recipe=recipe)


def picture(path, recipe=None):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.add_subplot()
    with atomic_path(path, recipe) as temporary:
        figure.savefig(temporary)
    return path


def table(path, recipe=None):
    with atomic_path(path, recipe) as temporary:
        Table({"x": [1.5, 2.5], "name": ["a", "b c"]}, meta={"k": "v"}).write(
            temporary, format="ascii.ecsv"
        )
    return path


def toml(path, recipe=None):
    with atomic_path(path, recipe) as temporary:
        temporary.write_text("[run]\na = 1\n")
    return path


def archive(path, recipe=None):
    with atomic_path(path, recipe) as temporary:
        np.savez(temporary, data=np.arange(300.0))
    return path


MAKERS = {"x.fits": cube, "x.png": picture, "x.ecsv": table, "x.toml": toml, "x.npz": archive}
KINDS = pytest.mark.parametrize("name", MAKERS)


def make(tmp_path, name, recipe=RECIPE):
    if name == "x.fits":
        return cube(tmp_path / name, recipe=recipe)
    return MAKERS[name](tmp_path / name, recipe)


@KINDS
def test_a_product_with_its_recipe_is_done(tmp_path, name):
    path = make(tmp_path, name)
    assert read_provenance(path).recipe == RECIPE
    assert judge(path, RECIPE).state is State.DONE


@KINDS
def test_provenance_does_not_change_what_a_file_holds(tmp_path, name):
    plain = make(tmp_path, name, None)
    before = content_hash(plain)
    Recipe("x").seal(plain)
    assert content_hash(plain) == before
    RECIPE.seal(plain)  # another one in its place
    assert content_hash(plain) == before
    assert read_provenance(plain).recipe == RECIPE


def test_sealed_files_are_read_as_before(tmp_path):
    paths = {name: make(tmp_path, name) for name in MAKERS}
    with CubeModel(paths["x.fits"]) as model:
        model.validate()
        assert (model.data == 1).all()
        assert "extra_fits" not in model._instance
    with fits.open(paths["x.fits"]) as hdulist:
        hdulist.verify("exception")
        assert json.loads(hdulist[-1].header["WEBBPROV"])["recipe"]["step"] == "klip"
    rows = Table.read(paths["x.ecsv"])
    assert rows["name"].tolist() == ["a", "b c"]
    assert rows.meta["k"] == "v"
    import tomllib

    assert tomllib.loads(paths["x.toml"].read_text()) == {"run": {"a": 1}}
    from matplotlib.image import imread

    assert imread(paths["x.png"]).shape == (100, 100, 4)
    with np.load(paths["x.npz"]) as stored:
        assert stored["data"].tolist() == list(range(300))


def test_headers_need_not_be_read_anew_for_the_provenance(tmp_path):
    from stdatamodels.fits_support import fits_hash

    path = make(tmp_path, "x.fits")
    with fits.open(path) as hdulist:
        stored = hdulist["ASDF"].data.tobytes()
        assert fits_hash(hdulist).encode() in stored


@KINDS
@pytest.mark.parametrize("at", [0.2, 0.5, 0.9, 0.999])
def test_a_damaged_product_is_not_done(tmp_path, name, at):
    path = make(tmp_path, name)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)
    assert judge(path, RECIPE).state is not State.DONE


@KINDS
@pytest.mark.parametrize("size", [0.0, 0.1, 0.5, 0.999])
def test_a_cut_product_is_not_done(tmp_path, name, size):
    path = make(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content))])
    assert judge(path, RECIPE).state is not State.DONE


def test_a_product_cut_between_extensions_is_foreign(tmp_path):
    path = make(tmp_path, "x.fits")
    with fits.open(path) as hdulist:
        end = hdulist["ASDF"].fileinfo()["hdrLoc"]
    path.write_bytes(path.read_bytes()[:end])
    assert judge(path, RECIPE).state is State.FOREIGN


def test_an_edited_pixel_is_noticed(tmp_path):
    path = make(tmp_path, "x.fits")
    with fits.open(path, mode="update") as hdulist:
        hdulist["SCI"].data[0, 3, 4] += 1
    assert judge(path, RECIPE).state is State.CHANGED


@pytest.mark.parametrize(
    "other, words",
    [
        (Recipe("klip", {"truncate": "20"}, RECIPE.inputs, "1.2.3"), "truncate 50, now 20"),
        (Recipe("klip", {}, RECIPE.inputs, "1.2.3"), "truncate 50, now not set"),
        (Recipe("klip", RECIPE.options, {}, "1.2.3"), "input a_crfints.fits taken away"),
        (
            Recipe("klip", RECIPE.options, {"a_crfints.fits": "1" * 32}, "1.2.3"),
            "input a_crfints.fits changed",
        ),
        (Recipe("klip", RECIPE.options, {**RECIPE.inputs, "b": "2"}, "1.2.3"), "input b added"),
        (Recipe("klip", RECIPE.options, RECIPE.inputs, "2.0"), "version 1.2.3, now 2.0"),
        (Recipe("mean", RECIPE.options, RECIPE.inputs, "1.2.3"), "made by klip, not mean"),
    ],
)
def test_a_stale_product_says_why(tmp_path, other, words):
    path = make(tmp_path, "x.ecsv")
    found = judge(path, other)
    assert found.state is State.STALE
    assert found.reasons == (words,)


def test_missing_and_foreign(tmp_path):
    assert judge(tmp_path / "no.fits", RECIPE).state is State.MISSING
    path = make(tmp_path, "x.fits", None)
    assert judge(path, RECIPE).state is State.FOREIGN


def test_kept_only_on_resume_and_said_so(tmp_path, caplog):
    path = make(tmp_path, "x.toml")
    assert keep(path, RECIPE, resume=False) is None
    with caplog.at_level(logging.INFO):
        assert keep(path, RECIPE, resume=True).path == path
        assert keep(path, Recipe("other"), resume=True) is None
    assert "kept" in caplog.messages[0]
    assert "made by klip, not other" in caplog.messages[1]


def test_notes_come_back(tmp_path):
    path = make(tmp_path, "x.fits", None)
    notes = {"rms": [0.1, 1e-17, float("inf")], "name": "a'b&" * 40}
    RECIPE.seal(path, notes)
    assert judge(path, RECIPE).notes == notes


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(max_size=9), st.text(max_size=99), max_size=6),
    st.dictionaries(st.text(max_size=90), st.text("0123456789abcdef", max_size=32), max_size=9),
)
def test_any_recipe_survives_a_fits_header(tmp_path_factory, options, inputs):
    path = tmp_path_factory.mktemp("r") / "x.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.arange(9), name="A")]).writeto(path)
    recipe = Recipe("s", options, inputs, "1")
    recipe.seal(path)
    assert read_provenance(path).recipe == recipe
    assert judge(path, recipe).state is State.DONE


def test_content_is_what_a_file_holds_not_when_it_was_written(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x" * 5_000_001)
    (tmp_path / "b.bin").write_bytes(b"x" * 5_000_001)
    (tmp_path / "c.bin").write_bytes(b"x" * 5_000_002)
    hashes = of_inputs(tmp_path / f"{name}.bin" for name in "abc")
    assert hashes["a.bin"] == hashes["b.bin"] != hashes["c.bin"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 399_999), st.integers(0, 399_999), st.integers(0, 2**32))
def test_words_that_change_places_are_noticed(tmp_path_factory, first, second, seed):
    folder = tmp_path_factory.mktemp("w")
    words = np.random.default_rng(seed).integers(0, 2**63, 400_000)
    words.tofile(folder / "a")
    words[first], words[second] = words[second], words[first]
    words.tofile(folder / "b")
    same = content_hash(folder / "a") == content_hash(folder / "b")
    assert same == (first == second)


def test_text_that_is_no_provenance(tmp_path):
    assert Provenance.from_text("{") is None
    assert Provenance.from_text('{"recipe": {"step": 1, "more": 2}}') is None
    assert read_provenance(tmp_path / "none.fits") is None


def test_files_that_belong_to_a_product(tmp_path):
    beside = tmp_path / "beside.asdf"
    beside.write_bytes(b"1")
    path = table(tmp_path / "x.ecsv", RECIPE.noting({"n": 1}, beside))
    assert judge(path, RECIPE).state is State.DONE
    beside.write_bytes(b"2")
    assert judge(path, RECIPE).reasons == ("beside.asdf is not what was written",)
    beside.unlink()
    assert judge(path, RECIPE).reasons == ("beside.asdf is missing",)


def test_an_archive_with_more_than_its_comment_holds_is_made_again(tmp_path):
    path = archive(tmp_path / "x.npz", Recipe("x", {"order": "n" * 70_000}))
    assert read_provenance(path) is None
    with np.load(path) as stored:
        assert stored["data"].sum() == 44850


def test_a_survey_tells_what_products_announce(tmp_path):
    table(tmp_path / "x.ecsv", Recipe("x").noting({"products": ["a.fits"]}))
    (found, missing) = survey(tmp_path)
    assert (found.state, missing.state) == (State.DONE, State.MISSING)
    assert missing.reasons == ("named by x.ecsv",)
    (tmp_path / "below").mkdir()
    source = cube(tmp_path / "a.fits", recipe=Recipe("y"))
    made = toml(tmp_path / "below" / "b.toml", Recipe("z", inputs=of_inputs([source])))
    assert {item.path: item.state for item in survey(tmp_path)} == {
        source: State.DONE, tmp_path / "x.ecsv": State.DONE, made: State.DONE
    }  # fmt: skip
    cube(source, 2.0, Recipe("y"))
    assert survey(tmp_path)[-1].reasons == ("input a.fits changed",)
