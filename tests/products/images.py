"""Small images with the WCS of a JWST detector, for the tests of the alignment's files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.products.models import quiet_schema_warnings
from webbalign.simulate.frames import (
    aberration,
    assemble,
    attitude,
    distortion,
    pointing_keywords,
    sip_keywords,
)

SHAPE = (64, 80)


@dataclass(frozen=True)
class Place:
    """A detector: where it lies in the focal plane."""

    shape: tuple[int, int] = SHAPE
    reference_pixel: tuple[float, float] = (39.5, 31.5)
    v2v3: tuple[float, float] = (120.5, -527.7)
    v3_angle: float = -0.58
    scale: float = 0.0312


def make_wcs(place=None, sky=(214.93, 52.96), roll=130.6, bend=2e-6):
    """A GWCS; `bend` is the quadratic distortion in arcsec per px**2."""
    place = place or Place()
    to_angles = distortion(
        place,
        {(1, 0): place.scale, (2, 0): bend, (1, 1): -bend / 2},
        {(0, 1): place.scale * 1.004, (0, 2): bend / 3, (1, 1): bend},
    )
    return assemble(place, to_angles, aberration(place), attitude(place, sky, roll))


def make_wcsinfo(place=None, sky=(214.93, 52.96), roll=130.6):
    place = place or Place()
    return {
        "v2_ref": place.v2v3[0], "v3_ref": place.v2v3[1], "roll_ref": roll,
        "ra_ref": sky[0], "dec_ref": sky[1],
    }  # fmt: skip


def make_model(place=None, sky=(214.93, 52.96), roll=130.6, bend=2e-6, exposure="00001"):
    place = place or Place()
    wcs = make_wcs(place, sky, roll, bend)
    rng = np.random.default_rng(5)
    model = ImageModel(place.shape)
    model.data = rng.normal(0, 1, place.shape).astype(np.float32)
    model.err = np.ones(place.shape, np.float32)
    model.dq = (rng.random(place.shape) < 0.01).astype(np.uint32) << np.uint32(31)
    model.var_rnoise = np.full(place.shape, 0.5, np.float32)
    model.meta.wcs = wcs
    keywords = {
        **pointing_keywords(place, wcs, sky, roll),
        **sip_keywords(wcs, place.reference_pixel),
        "telescope": "JWST",
        "instrument.name": "NIRCAM",
        "instrument.detector": "NRCA1",
        "instrument.module": "A",
        "instrument.channel": "SHORT",
        "instrument.filter": "F200W",
        "instrument.pupil": "CLEAR",
        "exposure.type": "NRC_IMAGE",
        "exposure.mid_time": 59751.05,
        "observation.program_number": "01345",
        "observation.observation_number": "001",
        "observation.visit_number": "001",
        "observation.visit_group": "02",
        "observation.sequence_id": "2",
        "observation.activity_id": "01",
        "observation.exposure_number": exposure,
        "observation.date": "2022-06-21",
        "observation.time": "01:00:00.0",
    }
    for name, value in keywords.items():
        model[f"meta.{name}"] = value
    model.meta.filename = f"jw01345001001_02201_{exposure}_nrca1_cal.fits"
    return model


def write_image(folder, **settings):
    model = make_model(**settings)
    path = folder / model.meta.filename
    with quiet_schema_warnings():
        model.save(str(path))
    return path
