"""The pipelines: which step follows which."""

from __future__ import annotations

from typing import Any

__all__ = ["Coron3Pipeline"]


def __getattr__(name: str) -> Any:
    if name == "Coron3Pipeline":
        from webbalign.pipelines.coron3 import Coron3Pipeline

        return Coron3Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
