"""To which visit, exposure and module an image belongs, and what its corrections are called.

The header decides; the file name is asked only where the header is silent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from webbalign.core.errors import InputError
from webbalign.products.groups import ObservationIds
from webbalign.products.image_files import ImageInfo
from webbalign.products.names import root

__all__ = ["AdjustKey", "keys_of", "measured_key", "parse_key", "visit_of"]

_NAME = re.compile(r"(jw\d{11})_(\d{5})_(\d{5})_([a-z0-9]+)", re.IGNORECASE)
_KEY = re.compile(
    r"(?P<visit>[A-Za-z0-9.-]+?)(?:_(?P<group>\w{5})_(?P<exposure>\d{5}))?"
    r"(?:_(?P<part>nrc(?P<module>[ab])\w*))?"
)


@dataclass(frozen=True)
class AdjustKey:
    """What a correction of the table is for.

    Attributes
    ----------
    visit : str
        ``jw`` with program, observation and visit.
    exposure : str
        ``{visit}_{group}_{exposure}``; empty: of the whole visit.
    module : str
        ``a`` or ``b``: of this NIRCam module only; empty: of all.
    detector : str
        Of this detector only, as PJPipe writes it; empty: of all.
    """

    visit: str
    exposure: str = ""
    module: str = ""
    detector: str = ""

    def __str__(self) -> str:
        part = self.detector or (f"nrc{self.module}" if self.module else "")
        return "_".join(filter(None, (self.exposure or self.visit, part)))


def parse_key(text: str) -> AdjustKey | None:
    """Take a key of the table apart; None if it is none.

    >>> parse_key("jw02107041001_02101_00002_nrcb")
    AdjustKey(visit='jw02107041001', exposure='jw02107041001_02101_00002', module='b', detector='')
    >>> parse_key("jw02107041001").exposure
    ''
    """
    found = _KEY.fullmatch(text)
    if found is None:
        return None
    visit, part = found["visit"], (found["part"] or "").lower()
    exposure = f"{visit}_{found['group']}_{found['exposure']}" if found["group"] else ""
    return AdjustKey(visit, exposure, found["module"] or "", part if len(part) > 4 else "")


def visit_of(info: ImageInfo) -> AdjustKey:
    """Tell visit, exposure, module and detector of an image.

    Raises
    ------
    InputError
        If neither the header nor the name tells the visit, or what they tell cannot be part of a
        file's name.
    """
    ids = _padded(info.observation)
    named = _NAME.match(root(info.name))
    visit = ids.visit_id or (named[1].lower() if named else "")
    exposure = ids.exposure_id or (
        f"{named[1].lower()}_{named[2]}_{named[3]}" if named and not ids.visit_id else ""
    )
    detector = (ids.detector or info.detector or (named[4] if named else "")).lower()
    if not visit:
        raise InputError(
            info.name,
            "neither the header nor the name tells its visit",
            "PROGRAM, OBSERVTN and VISIT, or a name jw<visit>_<group>_<exposure>_<detector>",
        )
    # they become parts of file names and keys of tables
    for word in (visit, exposure, detector):
        if not re.fullmatch(r"[\w.-]*", word, re.ASCII):
            raise InputError(info.name, f"{word!r} for its visit", "letters, digits and _")
    return AdjustKey(visit, exposure, _module(ids, detector), _without_alias(detector))


# how many digits file names give the identifiers, which headers may write without leading zeros
_DIGITS = {
    "program": 5, "observation": 3, "visit": 3, "visit_group": 2, "activity": 2, "exposure": 5,
}  # fmt: skip


def _padded(ids: ObservationIds) -> ObservationIds:
    found = {name: getattr(ids, name) for name in _DIGITS}
    return replace(ids, **{name: text.zfill(_DIGITS[name]) for name, text in found.items() if text})


def _module(ids: ObservationIds, detector: str) -> str:
    if detector.startswith("nrc") and detector[3:4] in ("a", "b"):
        return detector[3]
    return ids.module.lower() if ids.module.lower() in ("a", "b") else ""


def _without_alias(detector: str) -> str:
    """Return the detector as file names call it."""
    return {"nrca5": "nrcalong", "nrcb5": "nrcblong"}.get(detector, detector)


def measured_key(info: ImageInfo, *, by_visit: bool, by_module: bool) -> AdjustKey:
    """Name what is measured with an image: its exposure or visit, for all modules or its own.

    Raises
    ------
    InputError
        If that cannot be told.
    """
    own = visit_of(info)
    module = own.module if by_module and own.detector.startswith("nrc") else ""
    # an image of which only the visit is known counts for its visit
    return AdjustKey(own.visit, "" if by_visit else own.exposure, module)


def keys_of(info: ImageInfo) -> list[AdjustKey]:
    """All keys under which a correction of an image may stand, the first that is found wins.

    The exposure goes before the visit; of each, what is for this detector, this module, all.
    """
    own = visit_of(info)
    keys = []
    for exposure in dict.fromkeys((own.exposure, "")):
        keys += [
            AdjustKey(own.visit, exposure, own.module, own.detector),
            AdjustKey(own.visit, exposure, own.module),
            AdjustKey(own.visit, exposure),
        ]
    return list(dict.fromkeys(keys))
