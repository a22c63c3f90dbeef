"""A patched ASDF file is the old one with what was changed, and readable as ever."""

import io

import asdf
import numpy as np
import pytest

from webbalign.products.asdf_patch import patched_asdf
from webbalign.products.corrector import Correction, corrected_wcs

TREE = {
    "meta": {"name": "old", "empty": None, "flow": {"a": 1}},
    "steps": [{"x": 1}, {"x": 2}],
    "big": np.arange(50.0),
    "words": ["1", "null", "yes", "1e3", "", " a ", "über", "it's: #1"],
    "numbers": [1, -2.5e-300, 1e22, True, 0.1],
}


def content(tree=TREE, **options):
    buffer = io.BytesIO()
    asdf.AsdfFile(tree).write_to(buffer, **options)
    return buffer.getvalue()


def tree_of(patched):
    with asdf.open(io.BytesIO(patched)) as file:
        return {
            key: np.array(file[key]) if key == "big" else file[key]
            for key in file.tree
            if key in (*TREE, "new")
        }


def test_nothing_changes_by_itself():
    tree = tree_of(patched_asdf(content(), {("new",): 1}))
    np.testing.assert_array_equal(tree["big"], TREE["big"])
    for name in ("steps", "words", "numbers"):
        assert tree[name] == TREE[name]
    assert dict(tree["meta"])["flow"] == {"a": 1}


def test_changes_at_every_kind_of_place():
    changes = {
        ("meta", "name"): "it's new: #2",
        ("meta", "empty", "deep", "er"): [1.5, {"k": "v"}],
        ("meta", "flow", "b"): {"c": 2},
        ("steps", 1, "x"): np.eye(2),
        ("new",): np.array([0.1, 1e-300]),
    }
    tree = tree_of(patched_asdf(content(), changes))
    assert tree["meta"]["name"] == "it's new: #2"
    assert tree["meta"]["empty"] == {"deep": {"er": [1.5, {"k": "v"}]}}
    assert tree["meta"]["flow"] == {"a": 1, "b": {"c": 2}}
    np.testing.assert_array_equal(tree["steps"][1]["x"], np.eye(2))
    np.testing.assert_array_equal(tree["new"], [0.1, 1e-300])


def test_removal_and_insertion():
    patched = patched_asdf(
        content(), {}, [("meta", "name"), ("nothing", "here")], {("steps", 1): {"x": 1.5}}
    )
    tree = tree_of(patched)
    assert "name" not in tree["meta"]
    assert [step["x"] for step in tree["steps"]] == [1, 1.5, 2]


def test_blocks_go_when_nothing_refers_to_them_and_stay_otherwise():
    assert b"\xd3BLK" in patched_asdf(content(), {("meta", "name"): "x"})
    without = patched_asdf(content(), {("big",): [1.0]})
    assert b"\xd3BLK" not in without
    assert tree_of(without)["big"].tolist() == [1.0]


def test_patching_again():
    once = patched_asdf(content(), {("new",): np.ones(3)})
    twice = patched_asdf(once, {("new",): np.zeros(3)})
    np.testing.assert_array_equal(tree_of(twice)["new"], np.zeros(3))
    np.testing.assert_array_equal(tree_of(twice)["big"], TREE["big"])


@pytest.mark.parametrize(
    "changes, inserted",
    [({("steps", 7): 1}, {}), ({("words", "key"): 1}, {}), ({}, {("meta", 0): 1})],
)
def test_places_that_do_not_exist(changes, inserted):
    with pytest.raises(ValueError, match="no place|no sequence"):
        patched_asdf(content(), changes, (), inserted)


@pytest.mark.parametrize("broken", [b"", b"text", content()[:200]])
def test_what_is_no_asdf(broken):
    with pytest.raises(ValueError, match="no ASDF tree"):
        patched_asdf(broken, {("a",): 1})


def test_a_file_of_an_older_standard(data_folder):
    folder = data_folder / "ceers_tweakreg" / "tweakreg_wcs"
    path = folder / "jw01345001001_02201_00001_nrca1_tweakreg.asdf"
    with asdf.open(path) as file:
        wcs, info = file["wcs"], file["wcsinfo"]
        new = corrected_wcs(wcs, info, Correction(np.eye(2), np.array([1.0, 2.0])))
        place = new.available_frames.index("v2v3corr") - 1
        change = {("wcs", "steps", place, "transform"): new.pipeline[place].transform}
        patched = patched_asdf(path.read_bytes(), change)
    with asdf.open(io.BytesIO(patched)) as file:
        xy = np.random.default_rng(0).uniform(0, 2047, (2, 30))
        np.testing.assert_array_equal(file["wcs"](*xy), new(*xy))
        np.testing.assert_array_equal(file["wcs"].invert(*new(*xy)), new.invert(*new(*xy)))
        assert file["wcsinfo"] == info
