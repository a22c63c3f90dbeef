from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.products.addresses import (
    base_name,
    is_address,
    joined,
    masked,
    masked_text,
    without_access,
    written_address,
)

SECRET = "s3cr3t"
words = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize(
    "name",
    ["data/x.fits", "/x.fits", "x.fits", "C:/x.fits", "file:///x", "memory://x", "", None, 3,
     "reference://x", "simplecache::s3://b/x", "s3:", "GAIADR3", Path("x.fits")],
)  # fmt: skip
def test_what_is_no_address(name):
    assert not is_address(name)


@pytest.mark.parametrize("address", ["https://h.org/x.fits", "s3://bucket/a/x.fits", "HTTP://h/x"])
def test_an_address_survives_being_a_path(address):
    assert is_address(address)
    assert is_address(Path(address))
    assert written_address(Path(address)).lower() == address.lower()


def test_users_passwords_and_signatures_are_not_shown():
    address = f"https://me:{SECRET}@h.org:8080/a/x.fits?X-Amz-Signature={SECRET}#{SECRET}"
    assert masked(address) == "https://h.org:8080/a/x.fits?..."
    assert without_access(address) == "https://h.org:8080/a/x.fits"
    # the query by which an archive names its files is shown, but nothing else of it
    archive = f"https://h.org/file?uri=mast:JWST/product/x.fits&token={SECRET}"
    assert masked(archive) == "https://h.org/file?uri=mast:JWST/product/x.fits&..."
    assert masked("data/x.fits?y") == "data/x.fits?y"
    assert masked("http://[bad/x") == "http://..."


@given(words, words, st.sampled_from(["https", "s3", "http"]))
def test_no_text_around_an_address_brings_the_secret_out(before, after, scheme):
    text = f"{before} {scheme}://u:{SECRET}@h.org/x.fits?sig={SECRET} {after}"
    shown = masked_text(text)
    assert SECRET not in shown
    assert f"{scheme}://h.org/x.fits?..." in shown


def test_text_without_an_address_stays():
    assert masked_text("a: b/c? d@e") == "a: b/c? d@e"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("x.fits", "https://h.org/a/b/x.fits"),
        ("../x.fits", "https://h.org/a/x.fits"),
        ("../../../../x.fits", "https://h.org/x.fits"),
        ("/c/x.fits", "https://h.org/c/x.fits"),
        ("./c//x.fits", "https://h.org/a/b/c/x.fits"),
    ],
)
def test_names_are_relative_to_an_address(name, expected):
    assert joined(f"https://h.org/a/b/asn.json?sig={SECRET}", name) == expected


def test_who_may_read_an_association_may_read_its_members():
    assert joined("https://u:p@h.org/a/asn.json", "x.fits") == "https://u:p@h.org/a/x.fits"


@given(words)
def test_a_name_from_elsewhere_leads_nowhere(path):
    name = base_name(f"https://h.org/{path}")
    assert Path(name).name == name
    assert not name.startswith(".")
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= 200


def test_files_keep_their_names():
    assert base_name("s3://b/a/jw01_nrca1-x_cal.fits.gz") == "jw01_nrca1-x_cal.fits.gz"
    assert base_name("https://h.org/?x=1") == "file"
