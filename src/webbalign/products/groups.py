"""Which images share one correction: the exposure they belong to, or what the user says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["GROUP_BY", "Grouping", "ObservationIds", "group_ids"]

GROUP_BY = ("exposure", "module", "detector", "visit")


@dataclass(frozen=True)
class Grouping(Options):
    """Which images are corrected together."""

    group_by: str = opt(
        "exposure",
        "What is corrected as one: all images of an exposure, one module (NIRCam A or B) or one "
        "detector of it, or a whole visit. A group_id of an image or an association goes first.",
        choices=GROUP_BY,
    )


@dataclass(frozen=True)
class ObservationIds:
    """The identifiers of an image, as in its header; empty where they are missing.

    Attributes
    ----------
    program, observation, visit, visit_group, sequence, activity, exposure : str
        ``meta.observation.program_number`` and so on, with their leading zeros.
    detector, module : str
    """

    program: str = ""
    observation: str = ""
    visit: str = ""
    visit_group: str = ""
    sequence: str = ""
    activity: str = ""
    exposure: str = ""
    detector: str = ""
    module: str = ""

    @property
    def visit_id(self) -> str:
        """``jw{program}{observation}{visit}``; empty if a part is missing."""
        parts = (self.program, self.observation, self.visit)
        return f"jw{''.join(parts)}" if all(parts) else ""

    @property
    def exposure_id(self) -> str:
        """``jw{program}{obs}{visit}_{visit_group}{seq}{act}_{exposure}``; empty without a part."""
        parts = (self.visit_group, self.sequence, self.activity, self.exposure)
        if not (self.visit_id and all(parts)):
            return ""
        return f"{self.visit_id}_{self.visit_group}{self.sequence}{self.activity}_{self.exposure}"

    def group(self, group_by: str = "exposure") -> str:
        """Name the group by a rule; empty if the header does not say enough."""
        if group_by == "visit":
            return self.visit_id
        if not self.exposure_id or group_by == "exposure":
            return self.exposure_id
        # an instrument without modules is one module
        part = self.detector if group_by == "detector" else self.module
        return f"{self.exposure_id}_{part.lower()}" if part else self.exposure_id


def group_ids(
    observations: Sequence[ObservationIds],
    given: Sequence[str | None] | None = None,
    options: Grouping | None = None,
) -> list[str]:
    """Identify the group of each image.

    Parameters
    ----------
    observations : sequence of ObservationIds
    given : sequence of str or None, optional
        ``group_id`` of the member of the association, else ``meta.group_id``; None or empty where
        nobody said anything.
    options : Grouping, optional

    Returns
    -------
    list of str
        What is given goes before the rule. An image whose header does not say enough is a group
        of its own, ``exposureNNNN`` with its number in the list, from 1.
    """
    rule = (options or Grouping()).group_by
    given = given if given is not None else [None] * len(observations)
    ids = []
    for number, (ids_of_image, name) in enumerate(zip(observations, given, strict=True), start=1):
        ids.append(str(name or "") or ids_of_image.group(rule) or f"exposure{number:04d}")
    return ids


def group_sizes(ids: Sequence[str]) -> dict[str, int]:
    """Count the images of each group, in the order in which the groups appear."""
    return dict(Counter(ids))
