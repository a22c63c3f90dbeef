"""PJPipe's nested parameters: the most special value wins."""

import pytest

from webbalign.core.errors import OptionError
from webbalign.pipelines._band_parameters import tweakreg_options


def chosen(value, band="F300M", instrument="nircam", name="separation"):
    options = tweakreg_options({name: value}, target="ngc1566", band=band, instrument=instrument)
    return getattr(options, name)


NESTED = {
    "ngc1566": 7.0, "F300M": 6.0, "nircam_short": 5.0, "nircam_long": 4.0, "nircam": 3.0,
    "miri": 2.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("removed", "band", "instrument", "value"),
    [
        ((), "F300M", "nircam", 7.0),
        (("ngc1566",), "F300M", "nircam", 6.0),
        (("ngc1566",), "F300M_bgr", "nircam", 6.0),
        (("ngc1566", "F300M"), "F300M", "nircam", 4.0),
        (("ngc1566",), "F150W", "nircam", 5.0),
        (("ngc1566", "nircam_short"), "F150W", "nircam", 3.0),
        (("ngc1566",), "F1000W", "miri", 2.0),
        (("ngc1566",), "F150W", "niriss", 1.0),
    ],
)
def test_the_most_special_value_wins(removed, band, instrument, value):
    nested = {key: item for key, item in NESTED.items() if key not in removed}
    assert chosen(nested, band, instrument) == value


def test_values_may_be_nested_deeper():
    nested = {"ngc1566": {"nircam": {"F300M": 5.0}, "miri": 2.0}, "nircam": 9.0}
    assert chosen(nested) == 5.0
    assert chosen(nested, "F770W", "miri") == 2.0


def test_a_plain_value_is_for_all():
    assert chosen(5.0) == chosen(5.0, "F770W", "miri") == 5.0


@pytest.mark.parametrize(
    ("band", "instrument", "scale"),
    [("F150W", "nircam", 0.031), ("F300M", "nircam", 0.063), ("F770W", "miri", 0.11)],
)
def test_lengths_in_pixels(band, instrument, scale):
    assert chosen("20pix", band, instrument, "searchrad") == pytest.approx(20 * scale)


def test_unknown_and_impossible_values_are_named():
    with pytest.raises(OptionError, match="no option 'sepration'"):
        chosen(3, name="sepration")
    with pytest.raises(OptionError, match="F300M.*minobj"):
        chosen("manypix", name="minobj")


@pytest.mark.parametrize(("given", "miri", "nircam"), [({}, 5.0, 10.0), ({"miri": 8.0}, 8.0, 10.0)])
def test_miri_is_searched_deeper_unless_told(given, miri, nircam):
    parameters = {"snr_threshold": given} if given else {}
    found = [
        tweakreg_options(parameters, target="x", band=band, instrument=instrument).snr_threshold
        for band, instrument in (("F1000W", "MIRI"), ("F300M", "NIRCAM"))
    ]
    assert found == [miri, nircam]
