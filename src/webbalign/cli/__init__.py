"""The command ``webbalign``. This module imports only the standard library until it must."""

from __future__ import annotations

from webbalign.cli.app import main

__all__ = ["main"]
