"""Align JWST exposures, subtract starlight from coronagraphic ones, and combine them."""

from __future__ import annotations

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # looked up when asked for: importlib.metadata takes longer than the rest of --help
    if name == "__version__":
        from importlib.metadata import version

        return version("webbalign")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
