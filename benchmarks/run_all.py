"""Run all scripts one after the other; ``--quick`` and the like are handed to each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.report import mark_broken

SCRIPTS = (
    "alignment", "jwst_profile", "errors", "companion", "speed", "memory", "readable",
    "tweakreg_ceers", "tweakreg_mosaic", "tweakreg_speed", "tweakreg_memory", "tweakreg_readable",
    "wcs_adjust_stars", "wcs_adjust_images", "wcs_adjust_permutation", "wcs_adjust_bounded",
    "wcs_adjust_pjpipe", "scale_speed", "scale_floor", "scale_growth", "scale_workers",
    "scale_kill", "scale_dask",
)  # fmt: skip


def main() -> int:
    """Run the scripts; the status tells whether all of them ended, not what they found."""
    root = Path(__file__).resolve().parents[1]
    broken = []
    for name in SCRIPTS:
        print(f"\n{name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        status = subprocess.run(command, cwd=root, check=False).returncode
        if status not in (0, 3):
            broken.append(name)
            mark_broken(name)
    print("\nbroken off: " + ", ".join(broken) if broken else "\nsee benchmarks/RESULTS.md")
    return int(bool(broken))


if __name__ == "__main__":
    raise SystemExit(main())
