from __future__ import annotations

import pytest

from webbalign.core.errors import OptionError
from webbalign.simulate.cameras import BANDS, camera_for, detectors_of, settings_of
from webbalign.simulate.siaf import aperture_for


def names(settings):
    return [tuple(band.name for band in setting) for setting in settings]


def test_nircam_takes_a_short_and_a_long_band_together():
    settings = settings_of(("f300m", "F150W", "F770W", "F200W", "F1000W"))
    assert names(settings["nircam"]) == [("F150W", "F300M"), ("F200W",)]
    assert names(settings["miri"]) == [("F770W",), ("F1000W",)]
    assert list(settings_of(("F770W",))) == ["miri"]


@pytest.mark.parametrize("wrong", [(), ("F150W", "f150w"), ("F123X",)])
def test_bands_must_be_known_and_named_once(wrong):
    with pytest.raises(OptionError, match="'bands'"):
        settings_of(wrong)


def test_detectors_are_those_of_the_module_and_the_channel():
    assert detectors_of(BANDS["F150W"], "B") == ("nrcb1", "nrcb2", "nrcb3", "nrcb4")
    assert detectors_of(BANDS["F300M"], "both") == ("nrcalong", "nrcblong")
    assert detectors_of(BANDS["F770W"], "A") == ("mirimage",)
    assert detectors_of(BANDS["F300M"], "A", ("NRCB5", "nrca1")) == ("nrcblong",)
    assert detectors_of(BANDS["F770W"], "A", ("nrca1",)) == ()


@pytest.mark.parametrize("size", [None, 100])
def test_the_box_of_miri_leaves_the_reference_columns_out(size):
    camera = camera_for(aperture_for("mirimage").cut(size), BANDS["F770W"])
    (left, right), (bottom, top) = camera.bounding_box
    ny, nx = camera.shape
    assert (bottom, top) == (-0.5, ny - 0.5)
    assert (left, right) == ((3.5, 1027.5) if size is None else (-0.5, nx - 0.5))
