"""Amounts of memory are read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.errors import OptionError
from webbalign.core.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("2gb", 2_000_000_000),
        ("2G", 2_000_000_000),
        (" 0.5 TiB ", 2**39),
        ("1.5GiB", 3 * 2**29),
        ("500MB", 500_000_000),
        ("64kB", 64_000),
        ("123B", 123),
        (123, 123),
    ],
)
def test_units_are_understood(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "2", "2 XB", "two GB", "-2GB", "0GB", "2GB GB", "1e9B", "nan GB", "inf", "2,5GB",
     0, -1, True, None, 2.5],
)  # fmt: skip
def test_nonsense_is_refused(text):
    with pytest.raises(OptionError, match="option 'memory' is .* - give .* such as 2GB"):
        parse_bytes(text)


@given(st.integers(1, 10**6), st.sampled_from("kMGT"))
def test_a_bigger_unit_is_a_thousand_times_as_much(number, prefix):
    bigger = parse_bytes(f"{number}{prefix}B")
    assert bigger == number * 1000 ** ("kMGT".index(prefix) + 1)
    assert parse_bytes(f"{number}{prefix}iB") > bigger
