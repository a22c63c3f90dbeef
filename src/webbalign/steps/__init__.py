"""The steps, as stpipe knows them. Each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "AlignRefsStep",
    "KlipStep",
    "OutlierDetectionStep",
    "ResampleStep",
    "StackRefsStep",
    "TweakRegStep",
    "get_steps",
]

_MODULES = {
    "AlignRefsStep": "webbalign.steps.align_refs",
    "KlipStep": "webbalign.steps.klip",
    "OutlierDetectionStep": "webbalign.steps.outlier_detection",
    "ResampleStep": "webbalign.steps.resample",
    "StackRefsStep": "webbalign.steps.stack_refs",
    "TweakRegStep": "webbalign.steps.tweakreg",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_steps() -> list[tuple[str, str, bool]]:
    """List (class, alias, whether it is a pipeline) for the entry point ``stpipe.steps``."""
    steps = [
        ("AlignRefsStep", "align_refs"),
        ("KlipStep", "klip"),
        ("OutlierDetectionStep", "outlier_detection"),
        ("ResampleStep", "resample"),
        ("StackRefsStep", "stack_refs"),
        ("TweakRegStep", "tweakreg"),
    ]
    return [
        *((f"webbalign.steps.{name}", f"webbalign_{alias}", False) for name, alias in steps),
        ("webbalign.pipelines.Coron3Pipeline", "webbalign_coron3", True),
    ]
