"""Scenes with a known answer, for tests, benchmarks and the demonstration."""

from __future__ import annotations

from typing import Any

from webbalign.simulate.options import CoronSimulation

__all__ = ["CoronSequence", "CoronSimulation", "simulate_coron3"]


def __getattr__(name: str) -> Any:
    # the command line needs only the options: what computes is imported on first use
    if name in ("CoronSequence", "simulate_coron3"):
        from webbalign.simulate import coron

        return getattr(coron, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
