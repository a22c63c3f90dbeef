"""What a command tells programs: the JSON of ``--json``.

The fields stand in the documentation (commands); new ones may come, and SCHEMA changes when one
goes or changes its meaning.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

__all__ = ["SCHEMA", "Summary", "changed_since", "plain", "snapshot"]

SCHEMA = 1


class Summary:
    """What is gathered while a command runs.

    Attributes
    ----------
    files : list of str
        Products, without the reports.
    reports : list of str
        Pages.
    result : dict
        What the command has found.
    warnings : list of str
        Each once.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.reports: list[str] = []
        self.result: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._begun = time.monotonic()

    def record(self, files: Iterable[str | Path] = (), **result: Any) -> None:
        """Add products and results."""
        self.files += [str(path) for path in files]
        self.result.update(result)

    def text(self, command: str, status: int, error: str | None = None) -> str:
        """Return the JSON of a command that ends with a status."""
        from webbalign import __version__

        return json.dumps(
            {
                "schema": SCHEMA,
                "version": __version__,
                "command": command,
                "status": int(status),
                "error": error,
                "warnings": self.warnings,
                "seconds": round(time.monotonic() - self._begun, 3),
                "files": self.files,
                "reports": self.reports,
                "result": plain(self.result),
            },
            indent=2,
            allow_nan=False,
        )


def plain(value: Any) -> Any:
    """Make of a value what JSON can hold; what is not finite becomes null.

    >>> plain({"a": (1.0, math.nan), 2: Path("b")})
    {'a': [1.0, None], '2': 'b'}
    """
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # numpy, which is not imported for this
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def snapshot(folder: str | Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of the files in a folder, for :func:`changed_since`."""
    folder = Path(folder)
    found = folder.iterdir() if folder.is_dir() else ()
    files = [path for path in found if path.is_file() and not path.name.startswith(".")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def changed_since(before: Mapping[Path, tuple[int, int]], folder: str | Path) -> list[Path]:
    """Return the files of a folder that are new or were replaced, in the order of their making."""
    now = snapshot(folder)
    changed = [path for path, state in now.items() if before.get(path) != state]
    return sorted(changed, key=lambda path: (now[path][1], path.name))
