"""What tests ask of the solution of a star field."""

from dataclasses import replace

import numpy as np

from tests.core.skynetwork import grid_of
from webbalign.core.astrometry import ImageStatus
from webbalign.core.starlists import ReferenceStars

ALIGNED, REFERENCE, RELATIVE_ONLY, UNCHANGED, FAILED = ImageStatus
SMALL = {"visits": 2, "dithers": 3, "detectors": 1, "density": 0.03}
NO_STARS = ReferenceStars(np.empty((0, 2)), 0.1, 1.0, np.nan, name="nothing.ecsv")


def cut(field, k, rows):
    """Keep some stars of list k."""
    stars = field.lists[k]
    parts = {name: getattr(stars, name)[rows] for name in ("xy", "sigma", "flux", "weight")}
    field.lists[k] = replace(stars, **parts)
    field.label[k] = field.label[k][rows]


def statuses(solution):
    return [image.status for image in solution.images]


def corrections(solution):
    return [image.correction for image in solution.images]


def held(solution):
    return statuses(solution).index(REFERENCE)


def unchanged(image):
    return np.array_equal(image.matrix, np.eye(2)) and not image.shift.any()


def quoted(field, solution, which):
    return np.array(
        [solution.images[k].correction.errors_at(grid_of(field.lists[k].outline)) for k in which]
    )
