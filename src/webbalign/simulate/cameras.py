"""The imaging bands that can be simulated: what camera, how deep, how bright a sky.

Wavelengths are those of the filters; calibration, sky and saturation are rounded from headers of
flight data and from the instruments' published descriptions. They make plausible data; they are no
calibration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from webbalign.core.errors import OptionError
from webbalign.simulate.siaf import Aperture

__all__ = ["BANDS", "Band", "Camera", "camera_for", "detectors_of", "settings_of"]


@dataclass(frozen=True)
class Band:
    """A filter.

    Attributes
    ----------
    name : str
        The filter.
    instrument : str
        ``nircam`` or ``miri``.
    channel : str
        ``short`` or ``long`` of NIRCam, empty for MIRI.
    wavelength, width : float
        Middle and width, micron.
    photmjsr : float
        MJy/sr per DN/s.
    sky : float
        Brightness of the sky, MJy/sr.
    nebulosity : float
        Typical rms brightness of diffuse emission, MJy/sr.
    """

    name: str
    instrument: str
    channel: str
    wavelength: float
    width: float
    photmjsr: float
    sky: float
    nebulosity: float = 0.0


BANDS = {
    band.name: band
    for band in (
        Band("F090W", "nircam", "short", 0.901, 0.194, 3.1, 0.30),
        Band("F115W", "nircam", "short", 1.154, 0.225, 2.7, 0.28),
        Band("F150W", "nircam", "short", 1.501, 0.318, 2.1, 0.25),
        Band("F187N", "nircam", "short", 1.874, 0.024, 25.0, 0.22),
        Band("F200W", "nircam", "short", 1.988, 0.461, 1.9, 0.22),
        Band("F277W", "nircam", "long", 2.776, 0.672, 0.41, 0.14),
        Band("F300M", "nircam", "long", 2.996, 0.318, 0.88, 0.13),
        Band("F335M", "nircam", "long", 3.362, 0.347, 0.85, 0.13),
        Band("F356W", "nircam", "long", 3.565, 0.787, 0.38, 0.13),
        Band("F444W", "nircam", "long", 4.402, 1.024, 0.42, 0.30),
        Band("F560W", "miri", "", 5.6, 1.2, 0.47, 2.0, 0.5),
        Band("F770W", "miri", "", 7.7, 2.2, 0.33, 7.0, 4.0),
        Band("F1000W", "miri", "", 10.0, 2.0, 0.53, 16.0, 3.0),
        Band("F1130W", "miri", "", 11.3, 0.7, 1.3, 24.0, 5.0),
        Band("F1500W", "miri", "", 15.0, 3.0, 0.60, 50.0, 3.0),
        Band("F2100W", "miri", "", 21.0, 5.0, 0.70, 210.0, 5.0),
    )
}


@dataclass(frozen=True)
class Camera(Aperture):
    """A detector behind a filter, with its readout; see `Instrument` for what is not said here.

    Attributes
    ----------
    band : Band
    integration_time : float
        Of the only integration, s.
    full_well : float
        Electrons at which a pixel saturates.
    two_groups : float
        Time until the second group is read, s: what is full by then cannot be measured at all, as
        a slope takes two groups.
    """

    band: Band
    integration_time: float
    overhead: float
    gain: float
    read_noise: float
    flat_error: float
    full_well: float
    two_groups: float
    keywords: dict[str, Any]

    @property
    def instrument(self) -> str:
        """Name of the instrument, in lower case."""
        return self.band.instrument

    @property
    def photmjsr(self) -> float:
        """MJy/sr per DN/s."""
        return self.band.photmjsr

    @property
    def sky(self) -> float:
        """Brightness of the sky, MJy/sr."""
        return self.band.sky

    @property
    def background(self) -> float:
        """Brightness of the sky that is left in the images, MJy/sr."""
        return self.band.sky

    @property
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """((x0, x1), (y0, y1)) of the GWCS, 0-based px, without MIRI's reference columns."""
        ny, nx = self.shape
        edge = max(4 - (self.corner[0] - 1), 0) if self.instrument == "miri" else 0
        right = min(nx - 1, 1027 - (self.corner[0] - 1)) if self.instrument == "miri" else nx - 1
        return (edge - 0.5, right + 0.5), (-0.5, ny - 0.5)


# Of the readout: integration time, overhead, gain, noise, full well, two groups.
_READOUT = {
    "short": (257.7, 10.7, 2.05, 9.0, 90e3, 96.6),
    "long": (257.7, 10.7, 1.82, 8.0, 75e3, 96.6),
    "": (111.0, 2.8, 3.9, 12.0, 200e3, 5.55),
}
_EXPOSURE = {
    "nircam": {
        "exposure.type": "NRC_IMAGE",
        "exposure.readpatt": "SHALLOW4",
        "exposure.ngroups": 5,
        "exposure.nframes": 4,
        "exposure.groupgap": 1,
        "exposure.frame_time": 10.73677,
        "exposure.group_time": 53.68386,
        "subarray.slowaxis": 2,
        "observation.template": "NIRCam Imaging",
    },
    "miri": {
        "exposure.type": "MIR_IMAGE",
        "exposure.readpatt": "FASTR1",
        "exposure.ngroups": 40,
        "exposure.nframes": 1,
        "exposure.groupgap": 0,
        "exposure.frame_time": 2.77504,
        "exposure.group_time": 2.77504,
        "subarray.slowaxis": 2,
        "observation.template": "MIRI Imaging",
    },
}


def camera_for(aperture: Aperture, band: Band) -> Camera:
    """Return the camera of a detector (or a part of it) in a band."""
    time, overhead, gain, noise, well, two_groups = _READOUT[band.channel]
    keywords: dict[str, Any] = {
        "instrument.name": band.instrument.upper(),
        "instrument.detector": aperture.detector.upper(),
        "instrument.filter": band.name,
        "subarray.name": "FULL" if aperture.corner == (1, 1) else "GENERIC",
        "aperture.name": aperture.name,
        "aperture.pps_name": aperture.name,
        **_EXPOSURE[band.instrument],
    }
    if band.instrument == "nircam":
        module = aperture.detector[3].upper()
        keywords |= {
            "instrument.module": module,
            "instrument.channel": band.channel.upper(),
            "instrument.pupil": "CLEAR",
            "subarray.fastaxis": -1 if aperture.detector[3:] in _LEFTWARD else 1,
        }
    else:
        keywords["subarray.fastaxis"] = 1
    return Camera(
        **vars(aperture),
        band=band,
        integration_time=time,
        overhead=overhead,
        gain=gain,
        read_noise=noise,
        flat_error=5e-4,
        full_well=well,
        two_groups=two_groups,
        keywords=keywords,
    )


_LEFTWARD = ("a1", "a3", "along", "b2", "b4")


def detectors_of(band: Band, module: str, chosen: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the detectors that see a band.

    Parameters
    ----------
    band : Band
        The filter.
    module : str
        ``A``, ``B`` or ``both``; ignored for MIRI.
    chosen : iterable of str, optional
        Only these; they decide about the module as well.
    """
    letters = "ab" if module == "both" or chosen is not None else module.lower()
    if band.instrument == "miri":
        names: tuple[str, ...] = ("mirimage",)
    elif band.channel == "long":
        names = tuple(f"nrc{letter}long" for letter in letters)
    else:
        names = tuple(f"nrc{letter}{i}" for letter in letters for i in range(1, 5))
    if chosen is None:
        return names
    wanted = {
        name.lower().replace("nrca5", "nrcalong").replace("nrcb5", "nrcblong") for name in chosen
    }
    return tuple(name for name in names if name in wanted)


def settings_of(names: Iterable[str]) -> dict[str, list[tuple[Band, ...]]]:
    """Return which bands are observed together, by instrument.

    NIRCam takes a short-wave and a long-wave filter at the same time; MIRI one after the other.

    Raises
    ------
    OptionError
        If a band is not known, given twice, or none is given.
    """
    wanted = [name.upper() for name in names]
    unknown = [name for name in wanted if name not in BANDS]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise OptionError(
            f"option 'bands' is {','.join(wanted)!r} - give some of {', '.join(BANDS)}, each once"
        )
    bands = [BANDS[name] for name in wanted]
    short = [band for band in bands if band.channel == "short"]
    long = [band for band in bands if band.channel == "long"]
    together = [
        tuple(band for part in (short, long) for band in part[index : index + 1])
        for index in range(max(len(short), len(long)))
    ]
    settings: dict[str, list[tuple[Band, ...]]] = {
        "nircam": together,
        "miri": [(band,) for band in bands if band.instrument == "miri"],
    }
    return {instrument: pairs for instrument, pairs in settings.items() if pairs}
