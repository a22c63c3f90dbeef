"""Scenes with a known answer, for tests, benchmarks and the demonstration."""

from __future__ import annotations

from typing import Any

from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.options import CoronSimulation

__all__ = [
    "CoronSequence",
    "CoronSimulation",
    "Mosaic",
    "MosaicSimulation",
    "simulate_coron3",
    "simulate_mosaic",
]


def __getattr__(name: str) -> Any:
    # the command line needs only the options: what computes is imported on first use
    if name in ("CoronSequence", "simulate_coron3"):
        from webbalign.simulate import coron

        return getattr(coron, name)
    if name in ("Mosaic", "simulate_mosaic"):
        from webbalign.simulate import mosaic

        return getattr(mosaic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
