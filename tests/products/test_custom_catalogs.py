"""Three ways to name a catalog, and which one wins."""

from dataclasses import replace

import pytest

from tests.products.images import make_model
from webbalign.core.errors import InputError
from webbalign.products.catalogs import CatalogFiles
from webbalign.products.custom_catalogs import custom_catalogs, read_catfile
from webbalign.products.image_files import read_info

USE = CatalogFiles(use_custom_catalogs=True)


@pytest.fixture(scope="module")
def info():
    return read_info(make_model())


@pytest.fixture
def images(info, tmp_path):
    """Three images; the third names a catalog in its header."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("own.ecsv", "asn.ecsv", "cat.ecsv"):
        (folder / name).touch()
    return [
        replace(info, name=f"{letter}_cal.fits", path=folder / f"{letter}_cal.fits",
                tweakreg_catalog="own.ecsv" if letter == "c" else "")
        for letter in "abc"
    ]  # fmt: skip


def using(path):
    return CatalogFiles(use_custom_catalogs=True, catfile=str(path))


def names(paths):
    return [path and path.name for path in paths]


def test_nothing_is_used_unless_asked_for(images):
    members = {"a_cal.fits": "asn.ecsv"}
    folder = images[0].path.parent
    assert custom_catalogs(images, CatalogFiles(), members, folder) == [None] * 3


def test_the_image_itself_names_its_catalog(images):
    assert names(custom_catalogs(images, USE)) == [None, None, "own.ecsv"]


def test_the_association_goes_before_the_image_and_an_empty_entry_means_finding(images):
    members = {"a_cal.fits": "asn.ecsv", "c_cal.fits": ""}
    paths = custom_catalogs(images, USE, members, images[0].path.parent)
    assert names(paths) == ["asn.ecsv", None, None]


def test_a_catfile_makes_the_association_void(images):
    folder = images[0].path.parent
    (folder / "list.txt").write_text("# image catalog\n\nb_cal.fits cat.ecsv  # a comment\n")
    members = {"a_cal.fits": "asn.ecsv", "c_cal.fits": "asn.ecsv"}
    paths = custom_catalogs(images, using(folder / "list.txt"), members, folder)
    assert names(paths) == [None, "cat.ecsv", "own.ecsv"]


def test_an_empty_entry_of_the_catfile_means_finding(images):
    folder = images[0].path.parent
    (folder / "list.txt").write_text("c_cal.fits\n")
    assert custom_catalogs(images, using(folder / "list.txt")) == [None] * 3


def test_names_are_relative_to_the_catfile(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "list.txt").write_text("a_cal.fits sub/a.ecsv\nx/b_cal.fits /abs/b.ecsv\n")
    entries = read_catfile(tmp_path / "deep" / "list.txt")
    assert entries["a_cal.fits"] == tmp_path / "deep" / "sub" / "a.ecsv"
    assert str(entries["b_cal.fits"]) == "/abs/b.ecsv"


def test_a_name_in_the_header_may_be_relative_to_the_current_folder(images, monkeypatch, tmp_path):
    (tmp_path / "here.ecsv").touch()
    monkeypatch.chdir(tmp_path)
    image = replace(images[2], tweakreg_catalog="here.ecsv")
    assert names(custom_catalogs([image], USE)) == ["here.ecsv"]


def test_a_catalog_that_does_not_exist_is_named_with_its_image(images):
    with pytest.raises(
        InputError, match=r"no such file \(the catalog of a_cal.fits\) - gone.ecsv - "
    ):
        custom_catalogs(images, USE, {"a_cal.fits": "gone.ecsv"})


@pytest.mark.parametrize(
    "text, message",
    [
        ("a_cal.fits a.ecsv more\n", "line 1 has 3 columns"),
        ("a_cal.fits a.ecsv\nsub/a_cal.fits b.ecsv\n", "twice"),
        ("z_cal.fits a.ecsv\n", "none of the 3 images"),
    ],
)
def test_broken_catfiles(images, tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        custom_catalogs(images, using(tmp_path / "list.txt"))
    assert "list.txt" in str(error.value)


def test_a_missing_catfile(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_catfile(tmp_path / "none.txt")


def test_an_entry_for_no_image_is_told(images, caplog):
    folder = images[0].path.parent
    (folder / "list.txt").write_text("a_cal.fits cat.ecsv\nz_cal.fits cat.ecsv\n")
    assert names(custom_catalogs(images, using(folder / "list.txt")))[0] == "cat.ecsv"
    assert "z_cal.fits" in caplog.text
