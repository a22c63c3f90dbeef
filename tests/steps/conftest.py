from __future__ import annotations

import pytest

from webbalign.products import models
from webbalign.steps import OutlierDetectionStep, StackRefsStep


@pytest.fixture(scope="session")
def folder(sequence):
    return sequence.association.parent


@pytest.fixture
def science(sequence, folder):
    return models.open_cube(folder / sequence.science[0])


@pytest.fixture(scope="session")
def stack(sequence, folder):
    flagged = [OutlierDetectionStep().run(str(folder / name)) for name in sequence.psf]
    return StackRefsStep().run(flagged)
