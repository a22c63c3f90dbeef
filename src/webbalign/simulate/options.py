"""What can be chosen about a simulated coronagraphic sequence."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["CoronSimulation"]


@dataclass(frozen=True)
class CoronSimulation(Options):
    """Options of :func:`webbalign.simulate.simulate_coron3`.

    The telescope (pupil, coronagraph, static wavefront) is the same for every seed; the seed
    selects pointing errors, wavefront drift, bad pixels, cosmic rays and noise.
    """

    instrument: str = opt(
        "nircam",
        "The coronagraph: nircam is F356W with MASKA335R, miri is F1140C with the 4QPM.",
        choices=("nircam", "miri"),
    )
    nints: int = opt(20, "Integrations of each science exposure.", min=1)
    ref_nints: int = opt(4, "Integrations of each reference exposure.", min=1)
    ref_dithers: int = opt(
        9, "Reference exposures, one at each position of the small-grid dither.", min=1, max=9
    )
    nsci: int = opt(2, "Science exposures, each at its own roll of the telescope.", min=1)
    roll_angle: float = opt(10.0, "Angle between successive rolls, in degrees.")
    jitter: float = opt(
        1.5, "Pointing jitter of each integration, rms per axis in milliarcseconds.", min=0
    )
    target_acquisition: float = opt(
        5.0,
        "Error of the target acquisition of each visit, rms per axis in milliarcseconds.",
        min=0,
    )
    wcs_error: float = opt(
        0.0,
        "Error of the pointing that each visit's WCS records, rms per axis in milliarcseconds.",
        min=0,
    )
    wavefront_drift: float = opt(
        3.0,
        "Change of the wavefront between science and reference star, in nanometres rms. "
        "A tenth of it also happens within each exposure.",
        min=0,
    )
    star_flux: float = opt(0.6, "Flux density of the science star, in Jy.", min=0)
    ref_flux_ratio: float = opt(
        1.3, "Flux of the reference star relative to the science star.", min=0
    )
    companion_contrast: float = opt(
        1e-4, "Flux of the companion relative to its star; 0 for no companion.", min=0
    )
    companion_separation: float = opt(
        0.8, "Separation of the companion from its star, in arcseconds.", min=0
    )
    companion_pa: float = opt(
        225.0, "Position angle of the companion, from north over east, in degrees."
    )
    cosmic_rays: float = opt(
        3e-4,
        "Cosmic rays that escaped the jump detection, per pixel and integration.",
        min=0,
        max=0.1,
    )
    bad_pixels: float = opt(0.004, "Fraction of bad pixels on the detector.", min=0, max=0.5)
    background: float | None = opt(
        None,
        "Background left in the images, in MJy/sr. None: what is typical of the instrument. "
        "The noise is always that of the whole sky.",
    )
    noise: bool = opt(True, "Whether photon, read and flat-field noise are added.")
    variances: str = opt(
        "full",
        "The VAR arrays in the files: full, missing, or empty as real files may have them.",
        choices=("full", "missing", "empty"),
    )
    wavelengths: int = opt(3, "Number of wavelengths that stand for the band.", min=1)
    shape: tuple[int, ...] | None = opt(
        None, "Rows and columns of a smaller cut-out about the star.", min=32, length=2
    )
    seed: int = opt(1, "Seed of everything that is random.", min=0)
