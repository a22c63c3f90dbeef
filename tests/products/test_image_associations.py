"""Stage-3 associations of images."""

import json
from pathlib import Path

import pytest

from webbalign.core.errors import InputError
from webbalign.products.image_associations import load_image_association


def content(*members, **more):
    return {
        "asn_id": "a3001", "asn_pool": "pool.csv",
        "products": [{"name": "jw01345-a3001_nircam", "members": list(members)}], **more,
    }  # fmt: skip


def science(name, **more):
    return {"expname": name, "exptype": "science", **more}


def test_members_with_groups_and_catalogs(tmp_path):
    path = tmp_path / "asn.json"
    members = [
        science("a_cal.fits", group_id="one", tweakreg_catalog="cats/a.ecsv"),
        science("b_cal.fits", tweakreg_catalog=None),
        {"expname": "/data/c_cal.fits", "exptype": "SCIENCE", "group_id": 7},
        {"expname": "d_cal.fits", "exptype": "background"},
        {"expname": "e_cal.fits"},
    ]
    path.write_text(json.dumps(content(*members)))
    asn = load_image_association(path)
    assert asn.paths == [
        tmp_path / "a_cal.fits", tmp_path / "b_cal.fits", Path("/data/c_cal.fits"),
        tmp_path / "e_cal.fits",
    ]  # fmt: skip
    assert asn.group_ids == ["one", "", "7", ""]
    assert asn.catalogs == {"a_cal.fits": "cats/a.ecsv", "b_cal.fits": ""}
    assert asn.ignored == (("d_cal.fits", "background"),)
    assert (asn.name, asn.asn_id) == ("jw01345-a3001_nircam", "a3001")
    assert (asn.folder, asn.table_name, asn.pool_name) == (tmp_path, "asn.json", "pool.csv")


def test_name_and_identifier_may_be_missing():
    asn = load_image_association({"products": [{"members": [science("a_cal.fits")]}]})
    assert (asn.name, asn.asn_id) == ("", "")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({}, "no members"),
        ({"products": []}, "no members"),
        ({"products": [{"name": "x", "members": []}]}, "no members"),
        (content({"exptype": "science"}), "without expname"),
        (content("a_cal.fits"), "without expname"),
        (content({"expname": "a", "exptype": "psf"}), "no science member among 1"),
        (content(science("a"), science("x/a")), "listed twice: a"),
    ],
)
def test_broken_associations(tmp_path, wrong, message):
    path = tmp_path / "asn.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=message) as error:
        load_image_association(path)
    assert "asn.json" in str(error.value)


@pytest.mark.parametrize("text", [None, "no JSON", "[1, 2]"])
def test_what_is_no_association(tmp_path, text):
    path = tmp_path / "asn.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"(no such file|not readable|JSON).* - .*asn.json - "):
        load_image_association(path)
