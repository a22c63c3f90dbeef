"""A simulated frame as a ``_cal`` file with the keywords of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from webbalign.products.atomic import atomic_path
from webbalign.products.wcs import s_region, update_fits_header_wcs
from webbalign.simulate.detector import Recorded
from webbalign.simulate.frames import pointing_keywords
from webbalign.simulate.mosaic_plan import PROGRAM, Frame
from webbalign.simulate.mosaic_scene import Scene
from webbalign.simulate.writing import calibration_keywords, time_keywords

__all__ = ["write_cal"]

TARGET = "SIM-FIELD"


def write_cal(
    path: Path, frame: Frame, scene: Scene, recorded: Recorded, centre: tuple[float, float]
) -> None:
    """Write one frame, atomically.

    Parameters
    ----------
    path : Path
        The file.
    frame, scene, recorded
        What was observed, and how.
    centre : tuple of float
        Right ascension and declination of the target, degrees.
    """
    from stdatamodels.jwst.datamodels import ImageModel

    camera = frame.camera
    ra, dec, roll = frame.pointing
    # validated once, as a whole, rather than keyword by keyword
    with ImageModel(validate_on_assignment=False, strict_validation=True) as model:
        model.data = recorded.data[0].astype(np.float32)
        model.err = recorded.err[0].astype(np.float32)
        model.dq = recorded.dq[0]
        model.area = scene.area.astype(np.float32)
        model.var_poisson = recorded.poisson[0].astype(np.float32)
        model.var_rnoise = recorded.read[0].astype(np.float32)
        model.var_flat = recorded.flat[0].astype(np.float32)
        model.meta.wcs = frame.recorded_wcs
        model.meta.bunit_data = model.meta.bunit_err = "MJy/sr"
        keywords = {
            **camera.keywords,
            **_identity(frame, centre),
            **time_keywords(frame.start, 1, camera.integration_time, camera.overhead),
            **calibration_keywords(
                camera.instrument, camera.shape, camera.corner, camera.photmjsr, camera.pixel_area
            ),
            **pointing_keywords(camera, frame.recorded_wcs, (ra, dec), roll),
            # the fit of the header's WCS keeps them
            "wcsinfo.crpix1": camera.reference_pixel[0] + 1.0,
            "wcsinfo.crpix2": camera.reference_pixel[1] + 1.0,
            "wcsinfo.s_region": s_region(frame.recorded_wcs, camera.shape),
        }
        for name, value in keywords.items():
            model[f"meta.{name}"] = value
        update_fits_header_wcs(model)
        model.validate()
        with atomic_path(path) as temporary:
            model.save(temporary, overwrite=True)


def _identity(frame: Frame, centre: tuple[float, float]) -> dict[str, Any]:
    observation, visit = f"{frame.observation:03d}", f"{frame.visit:03d}"
    ra, dec = centre
    return {
        "telescope": "JWST",
        "origin": "webbalign simulation",
        "program.title": "Simulated mosaic",
        "program.category": "SIM",
        "observation.obs_id": f"V{PROGRAM}{observation}{visit}P0000000002101",
        "observation.visit_id": f"{PROGRAM}{observation}{visit}",
        "observation.program_number": PROGRAM,
        "observation.observation_number": observation,
        "observation.visit_number": visit,
        "observation.visit_group": "02",
        "observation.sequence_id": "1",
        "observation.activity_id": f"{frame.activity:02d}",
        "observation.exposure_number": str(frame.exposure),
        "observation.bkgdtarg": False,
        "visit.type": "PRIME_TARGETED_FIXED",
        "visit.status": "SUCCESSFUL",
        "visit.engineering_quality": "OK",
        "visit.total_exposures": frame.dithers,
        "target.proposer_name": TARGET,
        "target.catalog_name": TARGET,
        "target.type": "FIXED",
        "target.ra": ra,
        "target.dec": dec,
        "target.proposer_ra": ra,
        "target.proposer_dec": dec,
        "exposure.self_reference_survey": False,
        "exposure.prime_parallel": "PRIME",
        "exposure.count": frame.exposure,
        "dither.position_number": frame.exposure,
        "dither.total_points": frame.dithers,
    }
