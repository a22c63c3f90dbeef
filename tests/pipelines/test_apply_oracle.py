"""Our table, as it is, in the hands of PJPipe's ApplyWCSAdjustStep.

Needs WEBBALIGN_PJPIPE_PYTHON, the Python of an environment with PJPipe 1.3.
"""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from tweakwcs import JWSTWCSCorrector

from tests.pipelines.test_apply_adjust import CORRECTION, GRID, REFERENCE, entry, mas, sky
from tests.products.images import Place, write_image
from webbalign.core.planes import TangentPlane
from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.products.corrector import Correction
from webbalign.products.image_files import read_info
from webbalign.products.wcs_adjust_file import AdjustStatus, WcsAdjust, write_wcs_adjust

PJPIPE = os.environ.get("WEBBALIGN_PJPIPE_PYTHON", "")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not PJPIPE, reason="WEBBALIGN_PJPIPE_PYTHON names no Python with PJPipe"),
]

# spacepylot serves its cross-correlation only, and need not be there
SCRIPT = """
import os, sys, types
from unittest.mock import MagicMock
os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"
for name in ("spacepylot", "spacepylot.alignment", "spacepylot.alignment_utilities"):
    sys.modules[name] = MagicMock()
import pjpipe
table, images, out = sys.argv[1:]
step = pjpipe.ApplyWCSAdjustStep(
    wcs_adjust=pjpipe.load_toml(table), in_dir=images, out_dir=out, step_ext="cal", procs=1
)
assert step.do_step()
"""

ARM = (30.0, 60.0)  # arcsec from the reference of the entry to that of the second image


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """The images as they were, by PJPipe, and by us: one at the reference, one far from it."""
    folder = tmp_path_factory.mktemp("pjpipe")
    images, out = folder / "in", folder / "out"
    images.mkdir()
    out.mkdir()
    ra, dec = TangentPlane.about(*REFERENCE).to_sky([ARM])[0]
    far = Place(v2v3=(60.5, -497.7))
    paths = [
        write_image(images, sky=REFERENCE, exposure="00001"),
        write_image(images, sky=(float(ra), float(dec)), exposure="00002", place=far),
        write_image(images, sky=REFERENCE, exposure="00003"),
    ]
    other = Correction(np.eye(2), np.array([-0.2, 0.05]))
    entries = [
        entry(),
        entry("jw01345001001_02201_00003", other, cov=np.eye(6) * 1e-8, n_images=1),
        entry("jw01345001002", Correction.none(), status=AdjustStatus.FAILED, reason="no stars"),
    ]
    adjust = WcsAdjust(tuple(entries))
    table = write_wcs_adjust(adjust, folder / "field_wcs_adjust.toml")
    command = [PJPIPE, "-c", SCRIPT, str(table), str(images), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    ours = apply_wcs_adjust(adjust, paths, output_dir=folder / "ours")
    return paths, [out / path.name for path in paths], [one.path for one in ours], other


def turned_about_itself(path, correction):
    info = read_info(path)
    angles = {key: info.wcsinfo[key] for key in ("v2_ref", "v3_ref", "roll_ref")}
    corrector = JWSTWCSCorrector(info.wcs, angles)
    corrector.set_correction(matrix=correction.matrix, shift=correction.shift)
    return np.stack(corrector.wcs(*GRID.T, with_bounding_box=False), axis=-1)


def test_it_reads_shift_and_matrix_of_the_right_entry(applied):
    paths, theirs, _, other = applied
    for source, result, wanted in zip(paths, theirs, (CORRECTION, CORRECTION, other), strict=True):
        assert mas(sky(result), turned_about_itself(source, wanted)).max() < 1e-3


def test_an_image_at_the_reference_is_corrected_alike(applied):
    _, theirs, ours, _ = applied
    for k in (0, 2):
        # the plane of an image follows its own WCS, which includes the aberration of light
        assert mas(sky(theirs[k]), sky(ours[k])).max() < 0.05


def test_one_elsewhere_differs_by_the_roll_times_its_distance(applied):
    _, theirs, ours, _ = applied
    arm = np.array(ARM)
    foreseen = 1e3 * np.hypot(*(CORRECTION.matrix @ arm - arm))
    apart = mas(sky(theirs[1]), sky(ours[1]))
    assert foreseen > 15
    np.testing.assert_allclose(apart, foreseen, atol=0.1)
