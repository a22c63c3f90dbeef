"""What a detector makes of a scene of stars: noise, flags, and cores that saturate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from webbalign.simulate.detector import DO_NOT_USE, Detector, Recorded
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.mosaic_plan import Frame
from webbalign.simulate.mosaic_scene import Scene

__all__ = ["record"]

SATURATED = 2
DETECTORS = 16  # more than there are: seeds of detectors are apart from those of simulations


@dataclass(frozen=True)
class _Imperfections:
    """What `Detector` asks of its options, for one detector."""

    seed: int
    bad_pixels: float
    cosmic_rays: float
    background: float | None
    noise: bool


def record(frame: Frame, scene: Scene, options: MosaicSimulation) -> Recorded:
    """Record a frame.

    Parameters
    ----------
    frame : Frame
        Which detector, and the number that selects its noise.
    scene : Scene
        What falls on it.
    options : MosaicSimulation
        Noise, bad pixels, cosmic rays.

    Returns
    -------
    Recorded
        With one integration. Pixels full before the end are flagged SATURATED; those full within
        two groups are NaN, and flagged DO_NOT_USE as well.
    """
    camera = frame.camera
    imperfections = _Imperfections(
        options.seed * DETECTORS + frame.detector_number,
        options.bad_pixels,
        options.cosmic_rays,
        options.background,
        options.noise,
    )
    detector = Detector(camera, imperfections)
    recorded = detector.expose(scene.image[None], frame.number)
    rate = (scene.image + camera.sky) * camera.gain / camera.photmjsr  # electrons per second
    full = rate * camera.integration_time > camera.full_well
    at_once = rate * camera.two_groups > camera.full_well
    recorded.dq[0][full] |= SATURATED
    recorded.dq[0][at_once] |= DO_NOT_USE
    for array in (recorded.data, recorded.err, recorded.poisson, recorded.read, recorded.flat):
        array[0][at_once] = np.nan
    return recorded
