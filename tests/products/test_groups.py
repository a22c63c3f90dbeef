"""The group of an image: what is given, else the rule, else a number."""

from dataclasses import replace

import pytest

from webbalign.core.errors import OptionError
from webbalign.products.groups import Grouping, ObservationIds, group_ids, group_sizes

IDS = ObservationIds(
    program="01345", observation="001", visit="002", visit_group="02", sequence="2",
    activity="01", exposure="00003", detector="NRCA1", module="A",
)  # fmt: skip


def test_the_automatic_rule():
    assert group_ids([IDS]) == ["jw01345001002_02201_00003"]


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("exposure", "jw01345001002_02201_00003"),
        ("module", "jw01345001002_02201_00003_a"),
        ("detector", "jw01345001002_02201_00003_nrca1"),
        ("visit", "jw01345001002"),
    ],
)
def test_rules(rule, expected):
    assert group_ids([IDS], options=Grouping(group_by=rule)) == [expected]


def test_an_instrument_without_modules_is_one_module():
    miri = replace(IDS, detector="MIRIMAGE", module="")
    assert group_ids([miri], options=Grouping(group_by="module")) == ["jw01345001002_02201_00003"]


def test_detectors_of_an_exposure_belong_together_and_other_exposures_do_not():
    images = [IDS, replace(IDS, detector="NRCB4", module="B"), replace(IDS, exposure="00004")]
    ids = group_ids(images)
    assert group_sizes(ids) == {ids[0]: 2, ids[2]: 1}


def test_what_is_given_goes_before_any_rule():
    for rule in ("exposure", "visit"):
        ids = group_ids([IDS, IDS, IDS], ["mine", None, ""], Grouping(group_by=rule))
        assert ids[0] == "mine"
        assert ids[1] == ids[2] == IDS.group(rule)


def test_images_without_identifiers_are_numbered():
    assert group_ids([ObservationIds(), IDS, replace(IDS, exposure="")]) == [
        "exposure0001", "jw01345001002_02201_00003", "exposure0003",
    ]  # fmt: skip


def test_unknown_rules_are_refused():
    with pytest.raises(OptionError, match="group_by"):
        Grouping(group_by="filter")
