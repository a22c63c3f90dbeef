"""What a run takes, told before it begins: by it the executor is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from webbalign.core.registration import AlignRefs
from webbalign.execution import executor
from webbalign.pipelines.planning import expected_seconds, expected_step_seconds
from webbalign.products.associations import check_members, load_association


def cube(path, nints, side):
    zeros = np.zeros((nints, side, side), "f4")
    hdus = [fits.ImageHDU(zeros, name=name) for name in ("SCI", "ERR", "DQ")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return str(path)


def test_a_small_association_is_done_serially_and_a_large_one_is_not(sequence):
    association = load_association(sequence.association)
    headers = check_members(association)
    small = expected_seconds(association, headers, AlignRefs())
    assert 0 < expected_seconds(association, headers, AlignRefs(align_to="first")) < small
    assert executor("auto", 2, seconds=small).name == "serial"
    assert executor("auto", 2, seconds=1000 * small).name == "processes"


@pytest.mark.parametrize("step", ["align_refs", "klip", "stack_refs", "outlier_detection"])
def test_a_single_step_is_judged_by_its_files(tmp_path, step):
    files = [cube(tmp_path / f"{n}_calints.fits", n, 100) for n in (4, 8)]
    more = [cube(tmp_path / f"{n}_large_calints.fits", n, 100) for n in (40, 80)]
    few, many = expected_step_seconds(step, files), expected_step_seconds(step, more)
    assert few is not None
    assert many is not None
    assert many > 5 * few
    assert executor("auto", 2, seconds=few).name == "serial"


def test_what_cannot_be_told_is_not_guessed(tmp_path):
    assert expected_step_seconds("klip", ["https://example.org/x_crfints.fits", "y"]) is None
