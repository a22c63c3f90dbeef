import json
import shutil

import pytest
from astropy.io import fits

from webbalign.core.errors import InputError
from webbalign.products.associations import check_members, load_association, make_association


def write(folder, **changes):
    content = {
        "asn_type": "coron3",
        "asn_id": "c1001",
        "products": [
            {
                "name": "jw1-c1001_t001",
                "members": [
                    {"expname": "a_calints.fits", "exptype": "science"},
                    {"expname": "b_calints.fits", "exptype": "PSF"},
                    {"expname": "t_cal.fits", "exptype": "target_acquisition"},
                ],
            }
        ],
    } | changes
    path = folder / "x_asn.json"
    path.write_text(json.dumps(content))
    return path


def members(*rows):
    return [{"name": "p", "members": [{"expname": n, "exptype": t} for n, t in rows]}]


def test_members_by_role_relative_to_the_file(tmp_path):
    association = load_association(write(tmp_path))
    assert association.science == (tmp_path / "a_calints.fits",)
    assert association.psf == (tmp_path / "b_calints.fits",)
    assert association.ignored == (("t_cal.fits", "target_acquisition"),)
    assert (association.name, association.asn_id) == ("jw1-c1001_t001", "c1001")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"products": []}, "no products"),
        ({"asn_id": ""}, "asn_id"),
        ({"products": [{"members": []}]}, "'name'"),
        ({"products": members(("b", "psf"))}, "no science member"),
        ({"products": members(("a", "science"))}, "no psf member"),
        ({"products": ["p"]}, "'name'"),
        ({"products": [{"name": "p", "members": ["a", "b"]}]}, "a member without expname"),
        ({"products": [{"name": "p", "members": {"a": "b"}}]}, "members is no list"),
        ({"products": [{"name": "p", "members": 2}]}, "members is no list"),
        ({"products": members(("", "science"))}, "a member without expname"),
        ({"products": members((None, "science"))}, "a member without expname"),
        ({"products": members(("a", "science"), ("a", "psf"))}, "both science and psf: a"),
        ({"products": members(("a", "science"), ("b", "psf"), ("b", "psf"))}, "twice: b"),
    ],
)
def test_an_unusable_association_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as error:
        load_association(write(tmp_path, **changes))
    assert "x_asn.json" in str(error.value)


@pytest.mark.parametrize("text", ["{", "", "[1, 2]"])
def test_what_is_no_association_is_refused(tmp_path, text):
    path = tmp_path / "x_asn.json"
    path.write_text(text)
    with pytest.raises(InputError, match="x_asn.json"):
        load_association(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_does_no_harm(tmp_path, encoding):
    path = write(tmp_path)
    plain = load_association(path)
    path.write_text(path.read_text(), encoding=encoding)
    assert load_association(path) == plain


def test_a_missing_association_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_association(tmp_path / "none.json")
    with pytest.raises(InputError, match="folder"):
        load_association(tmp_path)


def test_made_association_has_roles_from_is_psf(sequence, tmp_path):
    folder = sequence.association.parent
    files = sorted(folder.glob("*_calints.fits"))
    made = make_association(files, folder=folder)
    path = folder / "made_asn.json"
    path.write_text(json.dumps(made))
    association = load_association(path)
    path.unlink()
    assert tuple(path.name for path in association.science) == sequence.science
    assert tuple(path.name for path in association.psf) == sequence.psf
    assert all(path.is_file() for path in association.members)


def test_association_needs_both_roles(sequence):
    folder = sequence.association.parent
    with pytest.raises(InputError, match="none of the 2 files is a psf"):
        make_association([folder / name for name in sequence.science])
    with pytest.raises(InputError, match="no files"):
        make_association([])


def copy_members(sequence, tmp_path):
    folder = sequence.association.parent
    for path in folder.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / sequence.association.name


def test_good_members_pass(sequence):
    headers = check_members(load_association(sequence.association))
    assert len(headers) == 7
    assert {header.nints for header in headers.values()} == {3, 4}


@pytest.mark.parametrize(
    "keyword, value", [("FILTER", "F444W"), ("CORONMSK", "MASKBAR"), ("INSTRUME", "MIRI")]
)
def test_mixed_members_are_refused(sequence, tmp_path, keyword, value):
    path = copy_members(sequence, tmp_path)
    fits.setval(tmp_path / sequence.psf[1], keyword, value=value)
    with pytest.raises(InputError, match=value) as error:
        check_members(load_association(path))
    assert sequence.psf[1] in str(error.value)
    assert sequence.science[0] in str(error.value)


def test_missing_unreadable_and_two_dimensional_members_are_refused(sequence, tmp_path):
    path = copy_members(sequence, tmp_path)
    name = sequence.science[1]
    with fits.open(tmp_path / name) as hdulist:
        hdulist["SCI"].data = hdulist["SCI"].data[0]
        hdulist.writeto(tmp_path / "flat.fits")
    cases = {
        "no such file": None,
        "not readable": b"SIMPLE  =",
        "_cal file": tmp_path / "flat.fits",
        "cut short": (tmp_path / name).read_bytes()[:100_000],
    }
    for message, content in cases.items():
        (tmp_path / name).unlink(missing_ok=True)
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            shutil.copy(content, tmp_path / name)
        with pytest.raises(InputError, match=message) as error:
            check_members(load_association(path))
        assert name in str(error.value)
