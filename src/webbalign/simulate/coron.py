"""Coronagraphic sequences with a known answer: files, association, truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.simulate.detector import Detector
from webbalign.simulate.frames import build_wcs
from webbalign.simulate.instruments import Instrument, instrument_for
from webbalign.simulate.optics import optics_for
from webbalign.simulate.options import CoronSimulation
from webbalign.simulate.propagation import Propagator
from webbalign.simulate.schedule import PROGRAM, Exposure, plan
from webbalign.simulate.truth import ExposureTruth, offset_position, write_truth
from webbalign.simulate.writing import write_calints

__all__ = ["CoronSequence", "simulate_coron3"]

ASN_ID = "c1001"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class CoronSequence:
    """The files of a simulated sequence.

    Attributes
    ----------
    association : Path
        Level-3 association of all exposures.
    science, psf : tuple of str
        Names of the ``_calints`` files beside it.
    truth : Path
        JSON with what was put in; images of each exposure lie in ``truth/`` beside it.
    """

    association: Path
    science: tuple[str, ...]
    psf: tuple[str, ...]
    truth: Path


def simulate_coron3(
    directory: str | Path,
    options: CoronSimulation | None = None,
    *,
    progress: Progress | None = None,
) -> CoronSequence:
    """Write a coronagraphic sequence: science rolls, a dithered reference star, an association.

    Parameters
    ----------
    directory : str or Path
        Where the files go; made if needed, files of the same names are replaced.
    options : CoronSimulation, optional
        What is to be simulated.
    progress : callable, optional
        Called as ``progress(done, total, text)`` after each integration, with counts of
        integrations.

    Returns
    -------
    CoronSequence
        The names of all that was written.
    """
    options = options or CoronSimulation()
    folder = Path(directory)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    instrument = instrument_for(options.instrument, options.shape)
    optics = optics_for(instrument, options.wavelengths)
    propagator = Propagator(instrument, optics)
    detector = Detector(instrument, options)
    exposures = plan(options, instrument, len(optics.modes))
    total = sum(exposure.nints for exposure in exposures)
    report = _Counter(progress, total)

    truths = []
    for number, exposure in enumerate(exposures):
        wcs, reference = build_wcs(instrument, exposure.position, exposure.recorded, exposure.roll)
        star, companion, truth = _scene(exposure, options, instrument, propagator, wcs, report)
        recorded = detector.expose(star + companion, number)
        write_calints(
            folder / exposure.file_name,
            exposure,
            recorded,
            instrument,
            wcs,
            reference,
            options.variances,
        )
        truth.write(folder / "truth", star, companion, recorded.cosmic_rays)
        truths.append(truth)

    science = tuple(exposure.file_name for exposure in exposures if not exposure.is_psf)
    psf = tuple(exposure.file_name for exposure in exposures if exposure.is_psf)
    association = _write_association(folder, instrument, science, psf)
    truth_path = write_truth(
        association.with_name(association.name.replace("_coron3_asn", "_truth")), options, truths
    )
    return CoronSequence(association, science, psf, truth_path)


class _Counter:
    """Counts integrations and passes the count on."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, text: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total, text)


def _scene(
    exposure: Exposure,
    options: CoronSimulation,
    instrument: Instrument,
    propagator: Propagator,
    wcs: Any,
    report: _Counter,
) -> tuple[np.ndarray, np.ndarray, ExposureTruth]:
    """Noiseless star and companion, each (nints, ny, nx) in MJy/sr, and where they are."""
    # Jy in a pixel -> MJy/sr
    brightness = 1e-6 / (instrument.pixel_area * np.deg2rad(1 / 3600) ** 2)
    star = np.empty((exposure.nints, *instrument.shape))
    companion = np.zeros_like(star)
    position = pixel = None
    if options.companion_contrast > 0 and not exposure.is_psf:
        position = offset_position(
            exposure.position, options.companion_separation, options.companion_pa
        )
        x, y = wcs.invert(*position, with_bounding_box=False)
        pixel = np.array([float(x), float(y)])
    for index, (x, y) in enumerate(exposure.star):
        drift = exposure.wavefront[index]
        star[index] = exposure.flux * brightness * propagator.image(x, y, drift)
        if pixel is not None:
            # the companion jitters with its star
            at = pixel + exposure.star[index] - exposure.recorded
            faint = exposure.flux * options.companion_contrast * brightness
            companion[index] = faint * propagator.image(at[0], at[1], drift)
        report(exposure.root)
    return star, companion, ExposureTruth(exposure, position, pixel)


def _write_association(
    folder: Path, instrument: Instrument, science: tuple[str, ...], psf: tuple[str, ...]
) -> Path:
    words = instrument.keywords
    optics = [words["instrument.filter"], words.get("instrument.pupil")]
    setting = "-".join(word.lower() for word in (*optics, words["subarray.name"]) if word)
    product = f"jw{PROGRAM}-{ASN_ID}_t001_{instrument.name}_{setting}"
    members = [
        {"expname": name, "exptype": role}
        for role, names in (("science", science), ("psf", psf))
        for name in names
    ]
    content = {
        "asn_type": "coron3",
        "asn_rule": "candidate_Asn_Lv3Coron",
        "version_id": None,
        "code_version": "simulation",
        "degraded_status": "No known degraded exposures in association.",
        "program": PROGRAM,
        "constraints": "none",
        "asn_id": ASN_ID,
        "target": "t001",
        "asn_pool": "simulation",
        "products": [{"name": product, "members": members}],
    }
    path = folder / f"jw{PROGRAM}-{ASN_ID}_t001_{instrument.name}_coron3_asn.json"
    path.write_text(json.dumps(content, indent=4) + "\n")
    return path
