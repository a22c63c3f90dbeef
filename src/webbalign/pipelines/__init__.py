"""The pipelines: which step follows which."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Coron3Pipeline", "GetWCSAdjustStep", "apply_wcs_adjust", "get_wcs_adjust"]

_MODULES = {
    "Coron3Pipeline": "coron3",
    "GetWCSAdjustStep": "wcs_adjust",
    "apply_wcs_adjust": "apply_adjust",
    "get_wcs_adjust": "wcs_adjust",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
