"""What worker processes that find stars and correct images need, brought in before they are made.

Importing this imports it all, what is otherwise imported at first use included, and computes the
shapes that a star can have.
"""

import photutils.detection  # noqa: F401
import tweakwcs  # noqa: F401

import webbalign.steps._correct_image
import webbalign.steps._find_in_image  # noqa: F401
from webbalign.core._psf_family import psf_family

__all__: list[str] = []

psf_family()
