"""Scale, criterion 3: two workers against one."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from pathlib import Path
from statistics import median

from benchmarks.report import Report

FASTER = 1.7
LEAST = 20.0  # s that one worker takes
CPU = 1.10  # total CPU time of two workers over that of one


def bits(folder: Path) -> dict[str, bytes]:
    """Return the products of a run."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.fits"))}


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(3, "runs of each"))
    report = Report("5.3", "scale_workers", "Scale: two workers against one")
    size = {"nints": 4, "ref_nints": 1} if chosen.quick else {"nints": 60, "ref_nints": 10}
    made = common.simulated(**size)
    used: dict[int, list[common.Usage]] = {1: [], 2: []}
    products = {}
    for turn in range(1 if chosen.quick else chosen.n + 1):
        for workers in used:
            output = common.fresh(f"workers-{workers}")
            executor = {"executor": "processes"} if workers > 1 else {"executor": "serial"}
            command = common.webbalign_command(
                made.association, output, align_refs__align_to="each", figure="false",
                report="false",
                align_refs__save_psfalign="false", align_refs__override_psfmask=made.mask,
                workers=workers, **executor,
            )  # fmt: skip
            usage = common.measure(command, output / "log.txt")
            print(f"  {workers}: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s", flush=True)
            products[workers] = bits(output)
            if turn or chosen.quick:  # the first ones compile modules and warm the disk
                used[workers].append(usage)
    wall = {n: median(usage.wall for usage in values) for n, values in used.items()}
    cpu = {n: median(usage.cpu for usage in values) for n, values in used.items()}
    report.above("wall time of 1 worker over that of 2", wall[1] / wall[2], FASTER, ".2f")
    report.above("wall time of 1 worker", wall[1], LEAST, ".1f", " s")
    report.below("CPU time of 2 workers over that of 1", cpu[2] / cpu[1], CPU, ".2f")
    same = products[1] == products[2]
    report.true("the products are the same to the bit", same, str(same), "True")
    rows = [
        [str(n), f"{wall[n]:.1f}", f"{cpu[n]:.1f}", ", ".join(f"{u.wall:.1f}" for u in used[n])]
        for n in used
    ]
    report.table(["workers", "wall, s (median)", "CPU, s (median)", "runs"], rows)
    n_refs = sum(item["is_psf"] for item in made.truth["exposures"]) * size["ref_nints"]
    report.note(
        f"`webbalign coron3`, `each`, 4-D product not saved; 2 x {size['nints']} science and "
        f"{n_refs} reference integrations of NIRCam 320 x 320; whole processes in turns, imports "
        "included."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
