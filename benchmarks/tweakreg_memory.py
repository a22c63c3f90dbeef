"""tweakreg, criterion 4: memory is small, whatever the number of frames."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tweakreg_truth as truth
from benchmarks.report import Report
from benchmarks.tweakreg_speed import CORES, two_cores, webbalign_command
from webbalign.core.sizes import parse_bytes

LIMIT = 1000.0  # MB
GROWTH = 50.0  # MB from the fewest to the most frames that still count as none
EVERY = 0.05  # s


@dataclass(frozen=True)
class Peak:
    """Largest sums over all processes of a run, MB.

    Attributes
    ----------
    proportional : float
        A page that several processes share counts once (PSS).
    resident : float
        It counts in each (RSS).
    processes : int
    """

    proportional: float
    resident: float
    processes: int


def watch(command: list[str], log: Path) -> Peak:
    """Run a command and look at it, and all that it starts, again and again."""
    peaks = [0.0, 0.0]
    processes = 0
    with log.open("w") as out:
        run = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    while run.poll() is None:
        found = [sizes for pid in family(run.pid) if (sizes := memory_of(pid)) is not None]
        processes = max(processes, len(found))
        peaks = [max(peaks[i], sum(sizes[i] for sizes in found)) for i in range(2)]
        time.sleep(EVERY)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return Peak(*peaks, processes)


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                waiting += map(int, path.read_text().split())
        except OSError:  # it has ended
            continue
    return found


def memory_of(pid: int) -> tuple[float, float] | None:
    """Return PSS and RSS of a process in MB; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    sizes = {name: float(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return sizes["Pss"] / 1e3, sizes["Rss"] / 1e3


def of_run(files: list[Path], made: truth.MosaicSet, *more: str) -> Peak:
    """Look at a whole run on some files."""
    folder = common.fresh("tweakreg-memory")
    images = truth.association(files, folder / "images_asn.json")
    output = folder / "products"
    command = webbalign_command(images, output, made, "--no-in-memory", *more)
    peak = watch(command, folder / "log.txt")
    shutil.rmtree(output)
    return peak


def row(number: int, memory: str, peak: Peak) -> list:
    """Write a run as a line of the table."""
    return [number, memory, f"{peak.proportional:.0f}", f"{peak.resident:.0f}", peak.processes]


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(
        __doc__, memory=("600MB,1GB", "amounts for --memory, separated by commas")
    )
    two_cores()
    report = Report("tweakreg 4b", "tweakreg_memory", "Small")
    if not Path("/proc/self/smaps_rollup").is_file():
        report.skip("everything", "the operating system does not say what processes share")
        return report.write()
    made = truth.nircam(chosen.quick)
    files = made.files["F150W"]
    numbers = (len(files) // 10, len(files) // 4, len(files))
    rows, peaks = [], {}
    for number in numbers:
        peaks[number] = peak = of_run(files[:number], made)
        rows.append(row(number, "", peak))
    most, fewest = max(peaks), min(peaks)
    report.below(f"{most} frames: peak, all processes", peaks[most].proportional, LIMIT, ".0f",
                 " MB")  # fmt: skip
    growth = peaks[most].proportional - peaks[fewest].proportional
    report.below(f"growth from {fewest} to {most} frames", growth, GROWTH, ".0f", " MB")
    for memory in chosen.memory.split(","):
        bound = parse_bytes(memory) / 1e6
        for number in (fewest, most):
            peak = of_run(files[:number], made, "--memory", memory)
            rows.append(row(number, memory, peak))
            what = f"{number} frames, `--memory {memory}`: resident, {peak.processes} processes"
            report.below(what, peak.resident, bound, ".0f", " MB")
    heads = ["frames", "`--memory`", "peak, shared pages once, MB",
             "peak, shared pages in each process, MB", "processes"]  # fmt: skip
    report.table(heads, rows)
    report.note(
        f"`webbalign tweakreg --no-in-memory` with absolute alignment on {CORES} cores; the memory "
        "of all its processes together, looked at 20 times a second (proportional set size: a "
        "page shared by several counts once; and, greater, the sum of the resident sizes, which "
        "`--memory` bounds by having fewer processes). The criterion names no number for growth: "
        f"up to {GROWTH:.0f} MB over a tenfold number of frames is called none here."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
