"""Criterion 1 of scale: whole coron3 from the shell beside jwst, small to large, `first`."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.report import Report

# (nints_sci, nints_ref): how many times faster than jwst; 2 science and 9 reference exposures.
CASES = {(4, 2): 5.0, (20, 4): 10.0, (60, 20): 25.0}
INSTRUMENTS = ("nircam", "miri")
KEPT = common.WORK / "scale_speed_jwst.json"
# seconds of CPU that a help text may take
HELP = 0.2


def ours(made: common.Sequence_, output: Path, cores: int) -> common.Usage:
    """Run webbalign with as many workers as cores."""
    command = common.webbalign_command(
        made.association, output, align_refs__align_to="first",
        align_refs__override_psfmask=made.mask, workers=cores,
    )  # fmt: skip
    return common.measure(command, output / "log.txt")


def theirs(made: common.Sequence_, output: Path, cores: int) -> common.Usage:
    """Run jwst with as many threads in its libraries as cores; it has no other parallel work."""
    command = common.jwst_command("coron3", made.association, output, made.mask)
    threads = [f"{name}={cores}" for name in common.THREADS]
    return common.measure(["env", *threads, *command], output / "log.txt")


def measured(program: str, made: common.Sequence_, cores: int) -> common.Usage:
    """Run one of both into a folder that is gone afterwards: a large one holds 2 GB."""
    output = common.fresh(f"scale-{program}")
    os.sync()  # what the run before has written shall not be written back during this one
    usage = (ours if program == "webbalign" else theirs)(made, output, cores)
    shutil.rmtree(output)
    print(f"  {program}, {cores} cores: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s", flush=True)
    return usage


class Kept:
    """jwst's runs of before, which may be used again with ``--keep-jwst``; told with their date."""

    def __init__(self, used: bool) -> None:
        self.used = used
        self.runs = json.loads(KEPT.read_text()) if KEPT.is_file() else {}

    def get(self, key: str) -> tuple[list[common.Usage], str] | None:
        """Return the runs of a case and their date, if they may be used."""
        if not self.used or key not in self.runs:
            return None
        found = self.runs[key]
        return [common.Usage(**usage) for usage in found["runs"]], found["date"]

    def put(self, key: str, runs: list[common.Usage]) -> str:
        """Keep the runs of a case; return their date."""
        date = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        self.runs[key] = {"date": date, "runs": [vars(usage) for usage in runs]}
        KEPT.write_text(json.dumps(self.runs, indent=1))
        return date


def case(
    made: common.Sequence_, cores: int, n: int, n_jwst: int, kept: Kept
) -> tuple[list[common.Usage], list[common.Usage], str]:
    """Time both programs in turns, after a run of ours that is not counted."""
    key = f"{made.folder.name} {cores}"
    known = kept.get(key)
    mine, yours = list[common.Usage](), list[common.Usage]()
    measured("webbalign", made, cores)  # compiles modules and warms the disk
    for turn in range(n):
        mine.append(measured("webbalign", made, cores))
        if known is None and turn < n_jwst and common.have_jwst():
            yours.append(measured("jwst", made, cores))
    if known is not None:
        return mine, *known
    return mine, yours, kept.put(key, yours) if yours else ""


def whole_runs(report: Report, chosen: object) -> None:
    """Time all cases."""
    kept = Kept(chosen.keep_jwst)  # type: ignore[attr-defined]
    rows = []
    for instrument, (nints, ref_nints), limit in _cases(chosen.quick):  # type: ignore[attr-defined]
        made = common.simulated(instrument=instrument, nints=nints, ref_nints=ref_nints)
        for cores in (1, 2):
            label = f"{instrument} ({nints}, {ref_nints}), {_cores(cores)}"
            print(f" {label}", flush=True)
            n, n_jwst = chosen.n, chosen.n_jwst  # type: ignore[attr-defined]
            mine, yours, date = case(made, cores, n, n_jwst, kept)
            row = [label, _seconds(mine, "wall"), _seconds(mine, "cpu"), _peak(mine)]
            if yours:
                ratios = {kind: _median(yours, kind) / _median(mine, kind) for kind in KINDS}
                for kind, words in KINDS.items():
                    if kind == "wall" or cores == 1:
                        report.above(f"{label}: jwst / webbalign, {words}", ratios[kind], limit,
                                     ".1f")  # fmt: skip
                row += [_seconds(yours, "wall"), _seconds(yours, "cpu"), _peak(yours), date]
            else:
                report.skip(f"{label}: ratio to jwst", common.NO_JWST)
            rows.append(row)
    heads = ["case", "wall, s", "CPU, s", "peak, MB", "jwst: wall, s", "CPU, s", "peak, MB", "when"]
    report.table(heads, [row + [""] * (len(heads) - len(row)) for row in rows])
    report.note(
        "2 science exposures and 9 references of (nints_sci, nints_ref) integrations; NIRCam 320 x "
        "320, MIRI 288 x 224. Whole processes, imports and all products included, no figure; "
        "medians of the runs, in turns. On 2 cores webbalign has 2 workers and jwst 2 threads in "
        "its libraries. CPU times are less disturbed by what else the machine does than wall "
        "times, to which the criterion applies."
    )


KINDS = {"wall": "wall time", "cpu": "CPU time"}


def _cases(quick: bool) -> Iterator[tuple[str, tuple[int, int], float]]:
    for size, limit in CASES.items():
        for instrument in INSTRUMENTS:
            if not quick or size == next(iter(CASES)):
                yield instrument, size, limit


def _cores(number: int) -> str:
    return "one thread" if number == 1 else f"{number} cores"


def _median(runs: list[common.Usage], kind: str) -> float:
    return median(getattr(usage, kind) for usage in runs)


def _seconds(runs: list[common.Usage], kind: str) -> str:
    return f"{_median(runs, kind):.2f}"


def _peak(runs: list[common.Usage]) -> str:
    return f"{max(usage.peak for usage in runs):.0f}"


def help_texts(report: Report, n: int) -> None:
    """Time what should be there at once."""
    folder = common.fresh("scale-help")
    for words in (["--version"], ["--help"], ["coron3", "--help"], ["tweakreg", "--help"]):
        command = [sys.executable, "-m", "webbalign", *words]
        usages = [common.measure(command, folder / "log.txt") for _ in range(n + 1)][1:]
        seconds, what = _median(usages, "cpu"), f"`webbalign {' '.join(words)}`, CPU time"
        if len(words) == 1:
            report.below(what, seconds, HELP, ".2f", " s")
        else:
            report.number_only(what, f"{seconds:.2f} s")


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(
        __doc__, n=(3, "runs of webbalign"), n_jwst=(1, "runs of jwst, at most as many"),
        keep_jwst=(0, "1: use jwst's runs of before, if there are any"),
    )  # fmt: skip
    report = Report("scale 1", "scale_speed", "Faster than jwst, the more the larger")
    whole_runs(report, chosen)
    help_texts(report, chosen.n)
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
