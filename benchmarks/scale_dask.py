"""Scale, criterion 4: a dask cluster of processes, deaths in it, and 200 associations in its queue.

A scheduler and three workers, each a process of its own on loopback, whose current folder is
another one than that of the commands.
"""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from distributed import Client

from benchmarks import mishaps
from benchmarks.clusters import Cluster
from benchmarks.mishaps import MACHINE, SELF, Plan
from benchmarks.report import Report
from benchmarks.scale_kill import contents
from webbalign.simulate import MosaicSimulation, simulate_mosaic

WORKERS = 3
STAGES = {
    "coron3": ("FlagJob", "FitJob", "ShiftJob", "SubtractJob"),
    "tweakreg": ("find_in_image", "correct_image"),
}
SEED = 20260102
TINY = {"nints": 3, "ref_nints": 2, "ref_dithers": 3, "shape": (64, 64), "wavelengths": 1}
SMALL = {"nints": 6, "ref_nints": 3, "ref_dithers": 5, "shape": (160, 160), "wavelengths": 1}
TRIES = 5  # to hit a task before it ends
PATIENCE = 120.0  # s until a cluster has all its workers
WHOLE = "association"  # the job of a worker that takes a whole one
SAMPLE = 12  # associations that are compared as whole files


@dataclass(frozen=True)
class Done:
    """A command that has ended: its status, what it logged, and the seconds that it took."""

    status: int
    told: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines that are no log of progress, after the last of it."""
        return [line for line in self.told.splitlines() if line.startswith("webbalign: error")]


@dataclass(frozen=True)
class Work:
    """A command on a set, with its undisturbed products made without the cluster."""

    name: str
    words: list[str]
    whole: dict[str, bytes]

    @classmethod
    def of(cls, name: str, words: list[str]) -> Work:
        """Make the products serially."""
        work = cls(name, words, {})
        done = work.run("--executor", "serial")
        if done.status not in (0, 3):
            raise RuntimeError(done.told[-3000:])
        work.whole.update(contents(work.output))
        return work

    @property
    def output(self) -> Path:
        """Where its products go."""
        return common.WORK / "out" / f"dask-{self.name}"

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start it; it heeds Ctrl-C, whoever has started this."""
        command = [sys.executable, "-m", "webbalign", *self.words, "--output-dir", str(self.output)]
        return subprocess.Popen(
            [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def run(self, *more: str, fresh: bool = True) -> Done:
        """Run it to its end, in an empty folder."""
        if fresh:
            common.fresh(self.output.name)
        start = time.perf_counter()
        process = self.start(*more)
        told = process.communicate()[0]
        return Done(process.returncode, told, time.perf_counter() - start)

    def fault(self, done: Done) -> str:
        """Say what is wrong with the products of a run; empty: they are the same bits."""
        if done.status not in (0, 3):
            return f"status {done.status}: {done.told[-300:]}"
        found = contents(self.output)
        if set(found) != set(self.whole):
            return f"files {sorted(set(found) ^ set(self.whole))}"
        wrong = [name for name, content in self.whole.items() if found[name] != content]
        return f"other bits in {wrong}" if wrong else ""


class Running:
    """A cluster, and a client that arranges what happens in it."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder, WORKERS)
        self.client: Client = None
        self.folder = folder
        self.connect()

    @property
    def words(self) -> tuple[str, str]:
        """What a command needs to use it."""
        return "--dask", self.cluster.address

    def connect(self) -> None:
        """Wait until all workers are there."""
        if self.client is None:
            # it would tell at length that the scheduler has gone
            logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)
            self.client = Client(self.cluster.address, set_as_default=False, timeout=PATIENCE)
        for process in [item for item in self.cluster.workers if item.poll() is not None]:
            self.cluster.workers.remove(process)
            self.cluster.workers.append(self.cluster.start_worker())
        self.client.wait_for_workers(WORKERS, timeout=PATIENCE)

    def restart(self) -> None:
        """Replace scheduler and workers."""
        self.client.close(timeout=1)
        self.client = None
        self.cluster.restart()
        self.connect()

    def end(self) -> None:
        """End all of it."""
        if self.client is not None:
            self.client.close(timeout=1)
        self.cluster.end()

    def arrange(self, plan: Plan | None) -> None:
        """Tell all workers; see :mod:`benchmarks.mishaps`."""
        self.connect()
        self.client.run(mishaps.arrange, plan)

    def seconds(self) -> dict[str, float]:
        """Return the median time of the tasks since then, by the name of their job."""
        times: dict[str, list[float]] = {}
        for of_worker in self.client.run(mishaps.seconds).values():
            for job, values in of_worker.items():
                times.setdefault(job, []).extend(values)
        return {job: median(values) for job, values in times.items()}


@dataclass
class Scene:
    """A cluster with some work, and the moments at which somebody dies."""

    running: Running
    work: Work
    times: dict[str, float]
    chance: random.Random

    def death(self, job: str, victim: str | int, number: int = signal.SIGKILL) -> Done:
        """Run the work with one death in the middle of a task of this job."""
        running = self.running
        ticket = running.folder / "ticket"
        for attempt in range(TRIES):
            ticket.unlink(missing_ok=True)
            wait = self.chance.uniform(0.1, 0.8) * self.times[job] / 2**attempt
            if victim == 0:  # the command itself
                common.fresh(self.work.output.name)
                process = self.work.start(*running.words)
                running.arrange(Plan(job, wait, str(ticket), process.pid, number))
                start = time.perf_counter()
                told = process.communicate()[0]
                done = Done(process.returncode, told, time.perf_counter() - start)
            else:
                running.arrange(Plan(job, wait, str(ticket), victim, number))
                done = self.work.run(*running.words)
            if ticket.exists():
                return done
        raise RuntimeError(f"no task of {job} was hit in {TRIES} runs")

    def resumed(self) -> tuple[int, str]:
        """Resume; return how many products were kept, and what is wrong (empty: nothing)."""
        done = self.work.run("--resume", *self.running.words, fresh=False)
        return done.told.count(", unchanged"), self.work.fault(done)


def undisturbed(report: Report, running: Running, work: Work) -> dict[str, float]:
    """See that the cluster makes the same bits; return how long its tasks take."""
    work.run(*running.words)  # imports
    running.arrange(None)
    fault = work.fault(work.run(*running.words))
    report.true(f"{work.name} on the cluster, against serial", not fault, fault or "same bits",
                "same bits")  # fmt: skip
    return running.seconds()


def killed_workers(report: Report, scene: Scene, moments: int, jobs: Sequence[str]) -> None:
    """Kill a worker in the middle of each stage."""
    rows, faults = [], []
    for job in jobs:
        for victim in (SELF, MACHINE)[: max(moments, 1)]:
            for _ in range(moments):
                done = scene.death(job, victim)
                fault = scene.work.fault(done)
                faults += [f"{job}, {victim}: {fault}"] if fault else []
                rows.append([job, victim, f"{done.seconds:.1f}", fault or "same bits"])
                print(f"  {rows[-1]}", flush=True)
    report.true(
        f"{scene.work.name}: a worker killed in the middle of each stage", not faults,
        f"{len(rows) - len(faults)} of {len(rows)} runs with the same bits", "all",
    )  # fmt: skip
    report.table(["in a task of", "SIGKILL to", "whole run, s", "found"], rows)


def broken_off(report: Report, scene: Scene, jobs: Sequence[str], who: str) -> None:
    """Kill the scheduler in each stage, or press Ctrl-C; then resume."""
    rows, good = [], 0
    for job in jobs:
        if who == "scheduler":
            done = scene.death(job, scene.running.cluster.scheduler.pid)
            clear = done.status == 1 and len(done.errors) == 1 and "--resume" in done.errors[0]
            scene.running.restart()
        else:
            done = scene.death(job, 0, signal.SIGINT)
            clear = done.status == 130 and len(done.errors) == 1
        clear &= "Traceback" not in done.told
        kept, fault = scene.resumed()
        good += clear and not fault
        error = re.sub(r"tcp://\S+", "ADDRESS", " / ".join(done.errors))
        said = error if clear else f"status {done.status}: {done.told[-300:]}"
        rows.append([job, kept, fault or "same bits", said])
        print(f"  {rows[-1]}", flush=True)
    what = {"scheduler": "the scheduler killed", "Ctrl-C": "Ctrl-C"}[who]
    report.true(
        f"{what} in the middle of each stage: one clear error, and after --resume the same bits",
        good == len(rows), f"{good} of {len(rows)}", "all",
    )  # fmt: skip
    report.table([f"{who}, in a task of", "kept", "resumed", "error"], rows)


def _hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def associations(count: int) -> list[Path]:
    """Write associations that share the members of three sequences, with or without one of them."""
    made = [common.simulated(**TINY, seed=seed) for seed in (1, 2, 3)]
    folder = common.fresh("dask-queue-associations")
    paths = []
    for k in range(count):
        of = made[k % len(made)]
        content = json.loads(of.association.read_text())
        product = content["products"][0]
        references = [item for item in product["members"] if item["exptype"] == "psf"]
        if (k // 3) % 4 < len(references):
            product["members"].remove(references[(k // 3) % 4])
        for item in product["members"]:
            item["expname"] = os.path.relpath(of.folder / item["expname"], folder)
        content["asn_id"], product["name"] = f"c{2000 + k}", f"queued{k:03d}"
        paths.append(folder / f"queued{k:03d}_asn.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def queued(report: Report, running: Running, count: int, chance: random.Random) -> None:
    """Queue many associations at once, and kill a worker and a machine on the way."""
    paths = associations(count)
    names = list(map(str, paths))
    options = ["--align-refs.align-to", "first", "--no-report"]
    sample = sorted(chance.sample(range(count), min(SAMPLE, count)))
    work = Work.of("queue-sample", ["coron3", *[names[k] for k in sample], *options])
    every = Work("queue", ["coron3", *names, *options], {})
    ticket = running.folder / "ticket"
    ticket.unlink(missing_ok=True)
    after = max(count // WORKERS // 3, 1)
    running.arrange(Plan("_run_alone", 0.3, str(ticket), MACHINE, after=after))
    done = every.run(*running.words)
    found = contents(every.output)
    products = sum(name.endswith("_i2d.fits") for name in found)
    lost = count - products
    report.true(
        f"{count} associations queued at once, a machine lost on the way",
        done.status in (0, 3) and not lost and f"{count} of {count} associations" in done.told
        and ticket.exists(),
        f"{products} finished, {lost} lost, status {done.status}", "none lost",
    )  # fmt: skip
    wrong = [name for name, content in work.whole.items() if found.get(name) != content]
    report.true(
        f"the products of {len(sample)} of them against a serial run", not wrong,
        f"{len(work.whole) - len(wrong)} of {len(work.whole)} files the same", "all",
    )  # fmt: skip
    hidden = _hidden(every.output)
    report.true("left over from the lost machine", not hidden, str(len(hidden)), "nothing")
    report.number_only("the queue took", f"{done.seconds:.0f} s")
    shutil.rmtree(every.output)


def mosaic() -> list[str]:
    """Simulate images for tweakreg."""
    folder = common.WORK / "sets" / "dask-mosaic"
    shutil.rmtree(folder, ignore_errors=True)
    made = simulate_mosaic(folder, MosaicSimulation(bands=("F300M",), dithers=2, size=300))
    return [str(path) for paths in made.files.values() for path in paths]


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(
        __doc__, moments=(3, "deaths of each kind in each stage"), count=(200, "associations"),
        seed=(SEED, "of the moments"),
    )  # fmt: skip
    report = Report("5.4", "scale_dask", "A dask cluster, and deaths in it")
    chance = random.Random(chosen.seed)
    made = common.simulated(**(TINY if chosen.quick else SMALL))
    words: dict[str, Any] = {
        "coron3": [str(made.association), "--align-refs.align-to", "each"],
        "tweakreg": [] if chosen.quick else mosaic(),
    }
    running = Running(common.fresh("dask-cluster"))
    try:
        for name, given in words.items():
            if not given:
                continue
            work = Work.of(name, [name, *given, "--no-report"])
            scene = Scene(running, work, undisturbed(report, running, work), chance)
            jobs = STAGES[name][:1] if chosen.quick else STAGES[name]
            killed_workers(report, scene, 1 if chosen.quick else chosen.moments, jobs)
            if name == "coron3":
                broken_off(report, scene, jobs, "scheduler")
                broken_off(report, scene, jobs, "Ctrl-C")
        queued(report, running, 12 if chosen.quick else chosen.count, chance)
    finally:
        running.end()
    report.note(
        f"A scheduler and {WORKERS} workers as processes on loopback, in a folder of their own. "
        "Deaths come at random moments of a task (0.1 to 0.8 of the median time of such tasks), "
        "arranged in the worker that does it. The nanny of `dask worker` starts a killed worker "
        "anew; with its nanny it is lost for the run, as with its machine."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
