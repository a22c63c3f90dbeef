"""Resampled images of the two programs, pixel by pixel.

Needs WEBBALIGN_JWST_PYTHON, the Python of an environment with jwst 3.0, and a CRDS cache in
CRDS_PATH (jwst asks for the name of the context).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from webbalign.core.coaddition import split_integrations
from webbalign.core.drizzling import Exposure
from webbalign.core.resample import Resample, resample
from webbalign.products.wcs import output_grid, pixel_map

AUMIC = Path(__file__).parents[3] / "shared" / "data" / "winnie_aumic_f356w"
VARIANCES = ("var_poisson", "var_rnoise", "var_flat")
JWST = os.environ.get("WEBBALIGN_JWST_PYTHON", "")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not JWST, reason="WEBBALIGN_JWST_PYTHON does not name a Python with jwst"),
    pytest.mark.skipif(not AUMIC.is_dir(), reason="the real AU Mic exposures are not there"),
]

SCRIPT = """
import json, sys
import numpy as np
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.pipeline.calwebb_coron3 import to_container
from jwst.resample import ResampleStep
from stdatamodels.jwst import datamodels
names, cases, folder = json.loads(sys.argv[1])
for case, options in cases.items():
    images = [i for name in names for i in to_container(datamodels.open(name))]
    step = ResampleStep(**options)
    step.blendheaders = False
    out = step.run(ModelLibrary(ModelContainer(images), on_disk=False))
    keys = ("data", "err", "wht", "con", "var_poisson", "var_rnoise", "var_flat")
    wcs = out.meta.wcs.forward_transform
    np.savez(f"{folder}/{case}.npz", crpix=wcs.crpix.value, crval=wcs.crval.value,
             pc=wcs.pc.value, **{key: getattr(out, key) for key in keys})
"""

CASES = {
    "default": {},
    "north": {"rotation": 0.0, "pixfrac": 0.7},
    "scale": {"pixel_scale": 0.05, "rotation": 30.0},
    "exptime": {"weight_type": "exptime", "pixel_scale_ratio": 0.8, "kernel": "turbo"},
    "cut": {"output_shape": [300, 280], "crpix": [140.0, 150.0], "crval": [311.2917, -31.3431]},
    "splines": {"pixmap_stepsize": 20.0, "pixmap_order": 3},
}


def exposure(path, roll, box):
    """Write a cube of noise, bad pixels and NaN on the WCS of a real exposure."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(roll)
    name = f"jw0118400{roll}001_03107_00001_nrcalong_calints.fits.gz"
    with datamodels.open(AUMIC / name) as source:
        base = np.nan_to_num(source.data[0]) * 0.02
        shape = (3, *base.shape)
        model = datamodels.CubeModel(shape)
        model.update(source)
        model.meta.wcs = source.meta.wcs
    if box:
        model.meta.wcs.bounding_box = ((12.5, 227.5), (6.5, 216.5))
    read = (0.05 * (1 + 0.3 * rng.random(shape))) ** 2
    poisson = np.abs(base) * 0.01 + np.zeros(shape)
    flat = (0.01 * base) ** 2 + np.zeros(shape)
    data = base + rng.normal(size=shape) * np.sqrt(read + poisson)
    model.err = np.sqrt(read + poisson + flat).astype(np.float32)
    model.dq = np.zeros(shape, dtype=np.uint32)
    for bit in (1, 4, 512):
        model.dq[rng.random(shape) < 0.01] |= bit
    for array, value in ((data, np.nan), (poisson, np.nan), (read, 0)):
        array[rng.random(shape) < 0.002] = value
    model.data = data.astype(np.float32)
    for key, array in zip(VARIANCES, (poisson, read, flat), strict=True):
        setattr(model, key, array.astype(np.float32))
    model.save(path)


def ours(models, options):
    options = Resample(**{"rotation": None, "err_source": "var", "footprint": "s_region"} | options)
    grid = output_grid(
        [model.meta.wcs for model in models],
        [model.data.shape for model in models],
        options,
        wcsinfo=models[0].meta.wcsinfo.instance,
        s_regions=[model.meta.wcsinfo.s_region for model in models],
    )
    exposures = []
    for model in models:
        integrations = split_integrations(
            model.data,
            good=(model.dq & 513) == 0,
            err=model.err,
            variances={key: getattr(model, key) for key in VARIANCES},
        )
        pixmap = pixel_map(
            model.meta.wcs,
            grid.wcs,
            model.data.shape,
            stepsize=options.pixmap_stepsize,
            order=options.pixmap_order,
        )
        time = model.meta.exposure.measurement_time or model.meta.exposure.exposure_time
        exposures.append(Exposure(integrations, pixmap, exposure_time=time))
    return grid, resample(exposures, grid.shape, options, pixel_scale_ratio=grid.pixel_scale_ratio)


@pytest.mark.parametrize("box", [False, True], ids=["whole frame", "bounding box"])
def test_image_agrees_with_jwst(tmp_path, box):
    from stdatamodels.jwst import datamodels

    names = [str(tmp_path / f"{roll}_psfsub.fits") for roll in (1, 2)]
    for roll, name in enumerate(names, start=1):
        exposure(name, roll, box)
    environment = os.environ | {"STPIPE_DISABLE_CRDS_STEPPARS": "true"}
    task = json.dumps([names, CASES, str(tmp_path)])
    subprocess.run([JWST, "-W", "ignore", "-c", SCRIPT, task], check=True, env=environment)
    models = [datamodels.open(name) for name in names]
    for case, options in CASES.items():
        theirs = np.load(tmp_path / f"{case}.npz")
        grid, image = ours(models, options)
        transform = grid.wcs.forward_transform
        np.testing.assert_allclose(transform.crpix.value, theirs["crpix"], atol=1e-6)
        np.testing.assert_allclose(transform.crval.value, theirs["crval"], rtol=0, atol=1e-11)
        np.testing.assert_allclose(transform.pc.value, theirs["pc"], atol=1e-12)
        np.testing.assert_array_equal(image.context, theirs["con"])
        arrays = {"data": image.data, "err": image.err, "wht": image.weight, **image.variances}
        for key, array in arrays.items():
            expected = theirs[key].astype(float)
            np.testing.assert_array_equal(np.isnan(array), np.isnan(expected), err_msg=case)
            rms = np.sqrt(np.nanmean(expected**2))
            difference = np.abs(array - expected)
            assert np.sqrt(np.nanmean(difference**2)) < 1e-5 * rms, (case, key)
            if key in ("data", "err"):
                assert np.nanmax(difference) < 1e-4 * rms, (case, key)
