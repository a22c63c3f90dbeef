import pytest

from webbalign.core.errors import OptionError
from webbalign.products.flags import bad_from_good_bits, interpret_bits


@pytest.mark.parametrize(
    "text, bits",
    [
        ("DO_NOT_USE", 1), ("OUTLIER, SATURATED", 18), ("16, 2", 18), ("18", 18), (18, 18),
        ("DO_NOT_USE+NON_SCIENCE", 513), ("", 0), (None, 0), ("None", 0),
    ],
)  # fmt: skip
def test_bits_by_name_and_number(text, bits):
    assert interpret_bits(text) == bits


def test_good_bits_are_turned_round():
    assert bad_from_good_bits("~DO_NOT_USE") == 1
    assert bad_from_good_bits("~DO_NOT_USE+NON_SCIENCE") == 513
    assert bad_from_good_bits(None) == 0
    assert bad_from_good_bits("") == 0xFFFFFFFF


def test_an_unknown_name_is_refused_with_the_name_of_the_option():
    with pytest.raises(OptionError, match="bad_bits.*DO_NOT_USED"):
        interpret_bits("DO_NOT_USED")
    with pytest.raises(OptionError, match="good_bits.*3"):
        bad_from_good_bits("3,5", "good_bits")
