"""Issue 5, criterion 5: killed at random moments, resumed, and the products are the same bits."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report

SEED = 20260101
# (what the table says, options, share of the moments)
KINDS = (
    ("serial", {"executor": "serial"}, 0.6),
    ("2 processes", {"executor": "processes", "workers": 2}, 0.4),
)


@dataclass(frozen=True)
class Trial:
    """One run that was broken off and resumed.

    `moment` is a fraction of the undisturbed run's duration, `finished` the number of products that
    were in the folder, `kept` how many of them the resumed run kept, `same` whether all products
    are those of the undisturbed run to the bit, `left` what else lies in the folder.
    """

    kind: str
    how: str
    moment: float
    finished: int
    kept: int
    same: bool
    left: list[str]


class Setting:
    """A set, and its undisturbed products with the time that they took."""

    def __init__(self, kind: str, options: dict[str, object], association: Path) -> None:
        self.kind, self.options, self.association = kind, options, association
        self.output = common.fresh("kill")
        times = []
        for seed in ("1", "2"):  # of Python's hashes, on which the order of sets depends
            shutil.rmtree(self.output)
            start = time.perf_counter()
            self.run(seed=seed)
            times.append(time.perf_counter() - start)
            self.repeats = not hasattr(self, "whole") or self.whole == contents(self.output)
            self.whole = contents(self.output)
        self.duration = min(times)

    def start(self, *more: str, seed: str = "random", limit: int = 0) -> subprocess.Popen[str]:
        """Start a run in a process group of its own."""
        options = {"figure": "true", **self.options}
        command = common.webbalign_command(self.association, self.output, **options)
        command.remove("--quiet")

        def small_files() -> None:
            if limit:  # what a file may have at most: writing on fails as on a full disk
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=os.environ | {"PYTHONHASHSEED": seed},
            preexec_fn=small_files,
        )  # fmt: skip

    def run(self, *more: str, seed: str = "random") -> str:
        """Run to the end; returns what was logged."""
        process = self.start(*more, seed=seed)
        log = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(log[-3000:])
        return log

    def trial(self, how: str, moment: float, stop: Callable[[float], bool]) -> Trial | None:
        """Break a run off, resume it; None if it had ended before."""
        shutil.rmtree(self.output)
        self.output.mkdir()
        if not stop(moment):
            return None
        finished = sum(not name.startswith(".") for name in contents(self.output))
        kept = self.run("--resume").count(", unchanged")
        found = contents(self.output)
        left = sorted(set(found) - set(self.whole))
        same = all(found.get(name) == content for name, content in self.whole.items())
        return Trial(self.kind, how, moment, finished, kept, same, left)

    def killed(self, moment: float) -> bool:
        """Run, and kill the whole process group at a moment."""
        return self._signalled(moment, signal.SIGKILL)

    def interrupted(self, moment: float) -> bool:
        """Run, and press Ctrl-C at a moment."""
        return self._signalled(moment, signal.SIGINT)

    def _signalled(self, moment: float, number: int) -> bool:
        process = self.start()
        try:
            process.communicate(timeout=moment * self.duration)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
            process.communicate()
            return True
        return False

    def full(self, moment: float) -> bool:
        """Run with files that may have at most a part of the largest product's size."""
        largest = max(map(len, self.whole.values()))
        process = self.start(limit=int(moment * largest) + 1)
        process.communicate()
        return process.returncode == 1


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of all files, hidden ones included, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def trials(
    setting: Setting, how: str, count: int, chance: random.Random, stop: Callable[[float], bool]
) -> list[Trial]:
    """Break off `count` runs at random moments; runs that had ended before do not count."""
    done: list[Trial] = []
    while len(done) < count:
        trial = setting.trial(how, chance.uniform(0.0, 1.0), stop)
        if trial is not None:
            done.append(trial)
            print(f"  {trial}", flush=True)
    return done


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(
        __doc__, moments=(50, "runs that are killed"), seed=(SEED, "of the moments")
    )
    report = Report("5.5", "scale_kill", "Killed and resumed")
    moments = 5 if chosen.quick else chosen.moments
    made = common.simulated(nints=6, ref_nints=3, ref_dithers=5, shape=(160, 160), wavelengths=1)
    found: list[Trial] = []
    rows = []
    for kind, options, share in KINDS:
        chance = random.Random(f"{chosen.seed} {kind}")
        setting = Setting(kind, options, made.association)
        same = setting.repeats
        report.true(f"{kind}: two undisturbed runs", same, "same" if same else "differ", "same")
        count = round(share * moments)
        mine = trials(setting, "kill -9", count, chance, setting.killed)
        mine += trials(setting, "Ctrl-C", max(count // 5, 1), chance, setting.interrupted)
        mine += trials(setting, "no room", max(count // 10, 1), chance, setting.full)
        found += mine
        for how in ("kill -9", "Ctrl-C", "no room"):
            some = [trial for trial in mine if trial.how == how]
            rows.append([
                kind, how, len(some), f"{setting.duration:.1f}",
                f"{min(t.finished for t in some)} - {max(t.finished for t in some)} "
                f"of {len(setting.whole)}",
                f"{statistics.mean(t.kept for t in some):.1f}",
                sum(t.same and not t.left for t in some),
            ])  # fmt: skip
    killed = [trial for trial in found if trial.how == "kill -9"]
    good = [trial for trial in killed if trial.same and not trial.left]
    report.true(
        "killed, resumed: all products bit-identical, nothing left over",
        len(good) == len(killed) >= moments, f"{len(good)} of {len(killed)}", f"all of {moments}",
    )  # fmt: skip
    others = [trial for trial in found if trial.how != "kill -9"]
    good = [trial for trial in others if trial.same and not trial.left]
    report.true(
        "interrupted, or out of room: the same", len(good) == len(others),
        f"{len(good)} of {len(others)}", "all",
    )  # fmt: skip
    lost = [trial for trial in found if trial.kept < trial.finished]
    what = "products that were finished and made again all the same"
    report.true(what, not lost, f"in {len(lost)} of {len(found)} runs", "none")
    heads = ["executor", "broken off by", "runs", "undisturbed, s", "finished then", "kept, mean",
             "same bits"]  # fmt: skip
    report.table(heads, rows)
    report.note(
        "NIRCam, 160 x 160, `each` with the 4-D product and the figure; the moments are random "
        f"over the duration of the undisturbed run (seed {chosen.seed}, start of Python included); "
        "the signal goes to the whole process group; then `--resume`, with another seed for "
        "Python's hashes. No room: files are limited to a random part of the largest product's "
        "size."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
