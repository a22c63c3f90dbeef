"""Whose correction an image takes: the header decides, the name where it is silent."""

from dataclasses import replace

import pytest

from tests.products.test_solutions import info as image_info
from webbalign.core.errors import InputError
from webbalign.products.groups import ObservationIds
from webbalign.products.visits import AdjustKey, keys_of, measured_key, parse_key, visit_of

NAME = "jw01345001001_02201_00001_nrca1_cal.fits"


def info(name=NAME, **changes):
    given = image_info()
    return replace(given, name=name, observation=replace(given.observation, **changes))


def nameless(name):
    return replace(image_info(), name=name, observation=ObservationIds())


@pytest.mark.parametrize("key", [
    "jw02107041001", "jw02107041001_nrca", "jw02107041001_02101_00002",
    "jw02107041001_02101_00002_nrcb", "jw02107041001_02101_00002_nrcblong", "jw02107041001_nrca3",
])  # fmt: skip
def test_keys_go_there_and_back(key):
    assert str(parse_key(key)) == key


@pytest.mark.parametrize("key", ["", "jw1_2", "jw02107041001_mirimage", "a b", "jw1_02101_1"])
def test_other_texts_are_no_keys(key):
    assert parse_key(key) is None


def test_the_header_goes_before_the_name():
    other = info("jw09999001001_02201_00001_nrca1_cal.fits")
    assert visit_of(other).exposure == "jw01345001001_02201_00001"


def test_identifiers_may_lack_their_zeros():
    short = info(program="1345", exposure="1", visit="1", observation="1", visit_group="2")
    assert visit_of(short) == visit_of(info())


def test_the_name_is_asked_where_the_header_is_silent():
    key = visit_of(nameless(NAME))
    assert (key.visit, key.exposure) == ("jw01345001001", "jw01345001001_02201_00001")
    assert (key.module, key.detector) == ("a", "nrca1")


def test_an_image_without_a_visit_is_refused():
    with pytest.raises(InputError, match="target.fits.*visit"):
        visit_of(nameless("target.fits"))


def test_what_is_measured_has_the_name_of_its_group():
    keys = [
        str(measured_key(info(), by_visit=visit, by_module=module))
        for visit in (False, True)
        for module in (False, True)
    ]
    assert keys == [
        "jw01345001001_02201_00001", "jw01345001001_02201_00001_nrca",
        "jw01345001001", "jw01345001001_nrca",
    ]  # fmt: skip


def test_the_exposure_goes_before_the_visit_and_the_module_before_both():
    assert [str(key) for key in keys_of(info())] == [
        "jw01345001001_02201_00001_nrca1", "jw01345001001_02201_00001_nrca",
        "jw01345001001_02201_00001", "jw01345001001_nrca1", "jw01345001001_nrca",
        "jw01345001001",
    ]  # fmt: skip


def test_miri_has_no_modules():
    miri = info(detector="MIRIMAGE", module="")
    assert measured_key(miri, by_visit=False, by_module=True).module == ""


def test_the_long_detectors_have_their_file_names():
    long = info(detector="NRCBLONG", module="B")
    assert visit_of(long) == AdjustKey(
        "jw01345001001", "jw01345001001_02201_00001", "b", "nrcblong"
    )
