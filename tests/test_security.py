"""What hostile input cannot do: run code, write where it was not told to."""

import io
import json
import os
import shutil
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from tests.products.images import make_model
from webbalign.core.errors import InputError
from webbalign.pipelines.apply_adjust import _products
from webbalign.pipelines.coron3 import run
from webbalign.products.associations import load_association, make_association
from webbalign.products.atomic import PARTIAL, atomic_path, sweep
from webbalign.products.catalogs import read_catalog
from webbalign.products.image_files import read_info
from webbalign.products.kept_stacks import kept_stack
from webbalign.products.models import open_cube
from webbalign.products.names import checked_name, flat_name
from webbalign.products.output_grid import _read_wcs
from webbalign.products.visits import visit_of
from webbalign.products.wcs_adjust_file import adjust_file_name, read_wcs_adjust

ROGUE = '!!python/object/apply:os.system ["touch {mark}"]'
UNKNOWN_TAGS_ARE_TOLD = pytest.mark.filterwarnings("ignore::asdf.exceptions.AsdfConversionWarning")
odd_names = st.text(max_size=300)


def state(folder, but):
    """All files of a folder with their size and time, without those of a subfolder."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if but not in (path, *path.parents) and not path.is_dir()
    }


# Where is written -----------------------------------------------------------------------------


def test_members_outside_their_folder_are_read_and_nothing_but_the_output_is_written(
    sequence, tmp_path
):
    for folder in ("asn", "far", "near"):
        (tmp_path / folder).mkdir()
    content = json.loads(sequence.association.read_text())
    source = sequence.association.parent
    for member in content["products"][0]["members"]:
        name = member["expname"]
        far = member["exptype"] == "psf"
        shutil.copy(source / name, tmp_path / ("far" if far else "near") / name)
        member["expname"] = f"../far/{name}" if far else str(tmp_path / "near" / name)
    association = tmp_path / "asn" / "x_asn.json"
    association.write_text(json.dumps(content))
    out = tmp_path / "out"
    before = state(tmp_path, out)
    result = run(association, output_dir=out, steps={"align_refs": {"align_to": "first"}})
    assert state(tmp_path, out) == before
    assert {path.parent for path in result.files} == {out}
    assert {path.parent for path in out.rglob("*")} == {out}


@pytest.mark.parametrize(
    "name", ["../p", "a/b", "/tmp/p", "..", ".p", "a\\b", "a\nb", "a\0b", "p" * 256]
)
@pytest.mark.parametrize("key", ["name", "asn_id"])
def test_a_product_name_that_leads_elsewhere_is_refused(tmp_path, key, name):
    members = [{"expname": "s", "exptype": "science"}, {"expname": "p", "exptype": "psf"}]
    product = {"name": "p", "members": members}
    content = {"asn_id": "c1001", "products": [product]}
    (product if key == "name" else content)[key] = name
    path = tmp_path / "x_asn.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the (product name|asn_id) .* - .*x_asn\.json - "):
        load_association(path)


@given(odd_names)
def test_odd_names_are_refused_or_flat(name):
    flat = flat_name(name)
    assert Path("out", flat).resolve().parent == Path("out").resolve()
    assert flat.isprintable()
    assert Path(adjust_file_name(name)).name == adjust_file_name(name)
    try:
        checked_name(name, "name", None)
    except InputError:
        return
    assert name == "" or Path(name).name == name


def test_an_odd_target_makes_no_odd_name(sequence, tmp_path):
    paths = []
    for name in (*sequence.science, *sequence.psf):
        paths.append(Path(shutil.copy(sequence.association.parent / name, tmp_path)))
        fits.setval(paths[-1], "TARGPROP", value="../../HD 1/a*?`x`")
        fits.setval(paths[-1], "PROGRAM", value="../1")
    name = make_association(paths)["products"][0]["name"]
    assert name.startswith("jw00..1-a3001_....hd1ax_nircam")
    assert checked_name(name, "name", None) == name


@pytest.mark.parametrize("folder", ["F300M/../F150W", "..", "a/.."])
def test_bands_by_a_way_round_stay_in_the_output_folder(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    paths = [Path("x", "a_cal.fits"), Path("x", folder, "b_cal.fits")]
    for product in _products(paths, Path("out")):
        assert Path("out").resolve() in product.resolve().parents


def test_an_odd_visit_is_refused(tmp_path):
    model = make_model()
    model.meta.observation.visit_number = "../1"
    with pytest.raises(InputError, match="for its visit"):
        visit_of(read_info(model))


def test_a_link_in_the_place_of_a_product_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.fits").symlink_to(victim)
    with atomic_path(out / "x.fits") as temporary:
        temporary.write_text("product")
    assert victim.read_text() == "mine"
    assert not (out / "x.fits").is_symlink()
    assert (out / "x.fits").read_text() == "product"


def test_a_hidden_folder_that_leads_elsewhere_is_neither_swept_nor_used(tmp_path):
    mine = tmp_path / "mine" / "999999999-x"
    mine.mkdir(parents=True)
    (mine / "file").write_text("mine")
    os.utime(mine / "file", (0, 0))
    out = tmp_path / "out"
    out.mkdir()
    (out / PARTIAL).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="a link"):
        sweep(out)
    with pytest.raises(InputError, match="a link"), atomic_path(out / "x.fits"):
        pass
    assert [path.name for path in (tmp_path / "mine").rglob("*")] == ["999999999-x", "file"]


# What is run ----------------------------------------------------------------------------------


class Rogue:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path):
    """A file that is there after the test if anything was run."""
    path = tmp_path / "was_run"
    yield path
    assert not path.exists()


def test_a_kept_stack_with_a_pickle_is_not_read(tmp_path, mark):
    path = tmp_path / "s.npz"
    np.savez(path, data=np.array([Rogue(mark)], dtype=object), mark=np.array(Rogue(mark)))
    with np.load(path, allow_pickle=False) as stored, pytest.raises(ValueError, match="pickle"):
        _ = stored["data"]
    assert kept_stack("x", path) is None


def rogue_asdf(mark, key):
    buffer = io.BytesIO()
    asdf.AsdfFile({"meta": {key: "here"}, key: "here"}).write_to(buffer)
    return buffer.getvalue().replace(b"here", ROGUE.format(mark=mark).encode())


def with_asdf(path, content):
    with fits.open(path) as hdulist:
        column = fits.Column(
            "ASDF_METADATA", f"{len(content)}B", array=[np.frombuffer(content, "u1")]
        )
        del hdulist["ASDF"]
        hdulist.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
        hdulist.writeto(path, overwrite=True)


@UNKNOWN_TAGS_ARE_TOLD
@pytest.mark.parametrize("key", ["meta", "wcs"])
def test_yaml_in_an_image_runs_nothing(tmp_path, mark, key):
    path = tmp_path / "x_cal.fits"
    make_model().save(path)
    with_asdf(path, rogue_asdf(mark, key))
    with pytest.raises(InputError, match="x_cal"):
        read_info(path)


@UNKNOWN_TAGS_ARE_TOLD
def test_yaml_in_an_exposure_runs_nothing(sequence, tmp_path, mark):
    path = Path(shutil.copy(sequence.association.parent / sequence.science[0], tmp_path))
    with_asdf(path, rogue_asdf(mark, "wcs"))
    assert list(open_cube(path).meta.wcs) == [f"touch {mark}"]  # words, and no WCS


@UNKNOWN_TAGS_ARE_TOLD
def test_yaml_in_an_asdf_file_runs_nothing(tmp_path, mark):
    path = tmp_path / "wcs.asdf"
    path.write_bytes(rogue_asdf(mark, "wcs"))
    with pytest.raises(InputError, match=r"wcs\.asdf"):
        _read_wcs(path)


@pytest.mark.parametrize(
    "entry", [ROGUE, "!!python/name:os.system", "!astropy.table.Column {{mixins: {rogue}}}"]
)
def test_yaml_in_a_catalog_runs_nothing(tmp_path, mark, entry):
    rogue = ROGUE.format(mark=mark)
    text = f"""# %ECSV 1.0
# ---
# datatype: [{{name: x, datatype: float64}}, {{name: y, datatype: float64}}]
# meta: {{evil: {entry.format(mark=mark, rogue=rogue)}}}
x y
1 2
"""
    path = tmp_path / "x_cat.ecsv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"not readable .* - .*x_cat\.ecsv - "):
        read_catalog(path)


def test_a_class_that_a_catalog_names_is_not_made(tmp_path, mark):
    text = f"""# %ECSV 1.0
# ---
# datatype: [{{name: x, datatype: float64}}, {{name: y, datatype: float64}}]
# meta:
#   __serialized_columns__:
#     z: {{__class__: subprocess.Popen, args: touch {mark}, shell: true}}
x y
1 2
"""
    path = tmp_path / "x_cat.ecsv"
    path.write_text(text)
    with pytest.raises(InputError, match="not readable"):
        read_catalog(path)


def test_a_table_of_corrections_is_data(tmp_path, mark):
    path = tmp_path / "x_wcs_adjust.toml"
    path.write_text(f"wcs_adjust = __import__('os').system('touch {mark}')")
    with pytest.raises(InputError, match="not readable as TOML"):
        read_wcs_adjust(path)
