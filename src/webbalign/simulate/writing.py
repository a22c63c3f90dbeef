"""A simulated exposure as a ``_calints`` file with the keywords of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from webbalign.simulate.detector import Recorded
from webbalign.simulate.frames import pointing_keywords, sip_keywords
from webbalign.simulate.instruments import Instrument
from webbalign.simulate.schedule import PROGRAM, Exposure

__all__ = ["calibration_keywords", "time_keywords", "write_calints"]

COMMON = "assign_wcs dq_init flat_field jump linearity photom ramp_fit refpix saturation"
DONE = {
    "nircam": f"{COMMON} charge_migration superbias".split(),
    "miri": f"{COMMON} bkg_subtract dark_sub emicorr firstframe lastframe reset".split(),
}
SKIPPED = ["gain_scale", "group_scale", "ipc", "outlier_detection", "persistence"]
BARYCENTRIC = 450.0 / 86400.0 + 69.184 / 86400.0  # light travel plus TDB - UTC, days


def write_calints(
    path: Path,
    exposure: Exposure,
    recorded: Recorded,
    instrument: Instrument,
    wcs: Any,
    reference: tuple[float, float],
    variances: str,
) -> None:
    """Write one exposure.

    Parameters
    ----------
    path : Path
        The file.
    exposure, recorded, instrument
        What was observed, and how.
    wcs : gwcs.WCS
        Its world coordinates.
    reference : tuple of float
        Right ascension and declination of the reference point, degrees.
    variances : str
        ``full``, ``missing`` (no such extensions) or ``empty`` (extensions without data).
    """
    from stdatamodels.jwst.datamodels import CubeModel

    # validated once, as a whole, rather than keyword by keyword
    with CubeModel(validate_on_assignment=False, strict_validation=True) as model:
        model.data = recorded.data.astype(np.float32)
        model.err = recorded.err.astype(np.float32)
        model.dq = recorded.dq
        model.area = np.ones(instrument.shape, np.float32)
        if variances == "full":
            model.var_poisson = recorded.poisson.astype(np.float32)
            model.var_rnoise = recorded.read.astype(np.float32)
            model.var_flat = recorded.flat.astype(np.float32)
        model.int_times = _int_times(exposure, instrument, model.get_dtype("int_times"))
        model.meta.wcs = wcs
        model.meta.bunit_data = model.meta.bunit_err = "MJy/sr"
        keywords = {
            **instrument.keywords,
            **_identity(exposure),
            **time_keywords(
                exposure.start, exposure.nints, instrument.integration_time, instrument.overhead
            ),
            **calibration_keywords(
                instrument.name,
                instrument.shape,
                instrument.corner,
                instrument.photmjsr,
                instrument.pixel_area,
            ),
            **pointing_keywords(instrument, wcs, reference, exposure.roll),
            **sip_keywords(wcs, instrument.reference_pixel),
        }
        for name, value in keywords.items():
            model[f"meta.{name}"] = value
        model.meta.filename = path.name
        model.validate()
        model.save(path, overwrite=True)
    if variances == "empty":
        _append_empty(path)


def _append_empty(path: Path) -> None:
    """Add VAR extensions without data, as files have them that other programs wrote."""
    from astropy.io import fits

    with fits.open(path, mode="append") as hdus:
        for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            hdus.append(fits.ImageHDU(name=name))


def _identity(exposure: Exposure) -> dict[str, Any]:
    observation = f"{exposure.observation:03d}"
    ra, dec = exposure.position
    small_grid = exposure.dither_points in (5, 9)
    pattern = f"{exposure.dither_points}-POINT-SMALL-GRID" if small_grid else "NONE"
    return {
        "telescope": "JWST",
        "origin": "webbalign simulation",
        "program.title": "Simulated coronagraphic sequence",
        "program.category": "SIM",
        "observation.obs_id": f"V{PROGRAM}{observation}001P00000000031{7:02d}",
        "observation.visit_id": f"{PROGRAM}{observation}001",
        "observation.program_number": PROGRAM,
        "observation.observation_number": observation,
        "observation.visit_number": "001",
        "observation.visit_group": "03",
        "observation.sequence_id": "1",
        "observation.activity_id": "07",
        "observation.exposure_number": str(exposure.number),
        "observation.bkgdtarg": False,
        "visit.type": "PRIME_TARGETED_FIXED",
        "visit.status": "SUCCESSFUL",
        "visit.engineering_quality": "OK",
        "visit.total_exposures": exposure.dither_points,
        "target.proposer_name": exposure.target,
        "target.catalog_name": exposure.target,
        "target.type": "FIXED",
        "target.ra": ra,
        "target.dec": dec,
        "target.proposer_ra": ra,
        "target.proposer_dec": dec,
        "exposure.psf_reference": exposure.is_psf,
        "exposure.self_reference_survey": False,
        "exposure.prime_parallel": "PRIME",
        "exposure.count": exposure.number,
        "dither.primary_type": pattern,
        "dither.position_number": exposure.number,
        "dither.total_points": exposure.dither_points,
        "dither.x_offset": exposure.dither[0] / 1e3,
        "dither.y_offset": exposure.dither[1] / 1e3,
    }


def time_keywords(
    start: float, nints: int, integration_time: float, overhead: float
) -> dict[str, Any]:
    """Return what the headers say about the times of an exposure, by data-model name.

    Parameters
    ----------
    start : float
        MJD (UTC).
    nints : int
        Number of integrations.
    integration_time, overhead : float
        Of one integration, s.
    """
    from astropy.time import Time

    on_source = nints * integration_time
    duration = on_source + nints * overhead
    end = start + duration / 86400.0
    middle = 0.5 * (start + end)
    begins, ends = (Time(mjd, format="mjd", scale="utc").isot for mjd in (start, end))
    date, time = begins.split("T")
    return {
        "observation.date": date,
        "observation.time": time,
        "observation.date_beg": begins,
        "observation.date_end": ends,
        "exposure.start_time": start,
        "exposure.mid_time": middle,
        "exposure.end_time": end,
        "exposure.start_time_mjd": start,
        "exposure.mid_time_mjd": middle,
        "exposure.end_time_mjd": end,
        "exposure.start_time_tdb": start + BARYCENTRIC,
        "exposure.mid_time_tdb": middle + BARYCENTRIC,
        "exposure.end_time_tdb": end + BARYCENTRIC,
        "exposure.nints": nints,
        "exposure.integration_start": 1,
        "exposure.integration_end": nints,
        "exposure.integration_time": integration_time,
        "exposure.exposure_time": on_source,
        "exposure.effective_exposure_time": on_source,
        "exposure.measurement_time": on_source,
        "exposure.duration": duration,
        "exposure.elapsed_exposure_time": duration,
    }


def calibration_keywords(
    instrument: str,
    shape: tuple[int, int],
    corner: tuple[int, int],
    photmjsr: float,
    pixel_area: float,
) -> dict[str, Any]:
    """Return what the headers say about subarray and calibration, by data-model name.

    Parameters
    ----------
    instrument : str
        ``nircam`` or ``miri``.
    shape : tuple of int
        (ny, nx).
    corner : tuple of int
        1-based detector column and row of the first pixel.
    photmjsr : float
        MJy/sr per DN/s.
    pixel_area : float
        Arcsec^2.
    """
    ny, nx = shape
    steradians = pixel_area * np.deg2rad(1 / 3600) ** 2
    return {
        "subarray.xstart": corner[0],
        "subarray.ystart": corner[1],
        "subarray.xsize": nx,
        "subarray.ysize": ny,
        "photometry.conversion_megajanskys": photmjsr,
        "photometry.conversion_microjanskys": photmjsr * 23.504431,
        "photometry.pixelarea_steradians": float(steradians),
        "photometry.pixelarea_arcsecsq": pixel_area,
        **{f"cal_step.{step}": "COMPLETE" for step in DONE[instrument]},
        **{f"cal_step.{step}": "SKIPPED" for step in SKIPPED},
    }


def _int_times(exposure: Exposure, instrument: Instrument, dtype: Any) -> np.ndarray:
    cadence = (instrument.integration_time + instrument.overhead) / 86400.0
    starts = exposure.start + np.arange(exposure.nints) * cadence
    length = instrument.integration_time / 86400.0
    moments = np.stack([starts, starts + length / 2, starts + length], axis=1)
    table = np.zeros(exposure.nints, dtype)
    names = table.dtype.names
    table[names[0]] = np.arange(1, exposure.nints + 1)
    for column, (utc, tdb) in enumerate(zip(names[1:4], names[4:7], strict=True)):
        table[utc] = moments[:, column]
        table[tdb] = moments[:, column] + BARYCENTRIC
    return table
