"""Criterion 5: fast, side by side with jwst in one run."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import time
from statistics import median

import numpy as np

from benchmarks.report import Report
from benchmarks.shift_theory import HOLE, RATIO, shifted, star_scene
from webbalign.core.registration import PsfFrame, Registrar

NAMES = {
    "first": "`webbalign coron3`, `align_to first`",
    "each": "`webbalign coron3`, `align_to each`",
    "jwst": "jwst 3.0.0 `Coron3Pipeline` as shipped (first integration)",
}


def whole_runs(report: Report, n: int, quick: bool) -> None:
    """Time whole processes in turns, after one of each that is not counted."""
    size = {"nints": 4, "ref_nints": 1} if quick else {"nints": 20, "ref_nints": 4}
    made = common.simulated(**size)
    used: dict[str, list[common.Usage]] = {name: [] for name in NAMES}
    for turn in range(n + 1):
        for name in NAMES:
            if name == "jwst" and not common.have_jwst():
                continue
            output = common.fresh(f"speed-{name}")
            if name == "jwst":
                words = made.association, output, made.mask
                command = common.jwst_command("coron3", *words)
            else:
                command = common.webbalign_command(
                    made.association, output, align_refs__align_to=name,
                    align_refs__override_psfmask=made.mask,
                )  # fmt: skip
            usage = common.measure(command, output / "log.txt")
            print(f"  {name}: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s", flush=True)
            if turn:  # the first ones compile modules and warm the disk
                used[name].append(usage)
    used = {name: values for name, values in used.items() if values}
    wall = {name: median(usage.wall for usage in values) for name, values in used.items()}
    cpu = {name: median(usage.cpu for usage in values) for name, values in used.items()}
    if "jwst" in used:
        for kind, taken in (("wall time", wall), ("CPU time", cpu)):
            ratio = taken["jwst"] / taken["first"]
            report.above(f"jwst / webbalign `first`, {kind}", ratio, 8, ".2f")
            report.above(
                f"jwst / webbalign `each`, {kind}", taken["jwst"] / taken["each"], 1, ".2f"
            )
    else:
        report.skip("ratios to jwst", common.NO_JWST)
    rows = []
    for name, values in used.items():
        walls = ", ".join(f"{usage.wall:.2f}" for usage in values)
        peak = max(usage.peak for usage in values)
        rows.append([NAMES[name], f"{wall[name]:.2f}", f"{cpu[name]:.2f}", f"{peak:.0f}", walls])
    heads = ["process", "wall, s (median)", "CPU, s (median)", "peak, MB", "wall of each run, s"]
    report.table(heads, rows)
    report.note(
        f"NIRCam 320 x 320, 2 x {size['nints']} science and 9 x {size['ref_nints']} reference "
        "integrations, one thread, in turns, one run of each before that is not counted. Whole "
        "processes: imports and all products included, no figure on either side. The criterion "
        "speaks of wall time; CPU times are less disturbed by what else the machine does."
    )


def single_fits(report: Report, quick: bool) -> None:
    """Time one fit in both programs on the same images."""
    scene, pairs = star_scene("nircam"), []
    rng = np.random.default_rng(3)
    iy, ix = np.indices(scene.star.shape)
    weight = (np.hypot(ix - scene.centre[0], iy - scene.centre[1]) > HOLE).astype(float)
    noise = np.sqrt(scene.variance(scene.star))
    science = scene.star + rng.normal(size=weight.shape) * noise
    variance = scene.variance(science)
    for _ in range(4 if quick else 36):
        psf = RATIO * shifted(scene.star, *rng.uniform(-0.5, 0.5, 2))
        pairs.append(psf + rng.normal(size=weight.shape) * np.sqrt(scene.variance(psf)))
    lone, shared = [], []
    for _ in range(3):
        for psf in pairs:
            start = time.perf_counter()
            Registrar(science, weight, variance).fit(psf, scene.variance(psf))
            lone.append(time.perf_counter() - start)
        frames = [PsfFrame(psf, weight, scene.variance(psf)) for psf in pairs]
        start = time.perf_counter()
        registrar = Registrar(science, weight, variance)
        for frame in frames:
            registrar.fit(frame)
        shared.append((time.perf_counter() - start) / len(pairs))
    ours = {
        "a lone fit, all preparation included": 1e3 * median(lone),
        f"one of {len(pairs)} references to one science image": 1e3 * median(shared),
    }
    rows = [[f"webbalign, {name}", f"{value:.2f}"] for name, value in ours.items()]
    if common.have_jwst():
        folder = common.fresh("speed-fits")
        some = pairs[: 4 if quick else 12]
        np.savez(folder / "pairs.npz", science=[science] * len(some), psf=some, weight=weight)
        common.jwst("fits", folder / "pairs.npz", folder / "fits.npz")
        theirs = 1e3 * float(np.median(np.load(folder / "fits.npz")["seconds"]))
        for name, value in ours.items():
            report.above(f"align_fourier_lsq in float64 / {name}", theirs / value, 50, ".0f")
        rows.append(["align_fourier_lsq in float64", f"{theirs:.1f}"])
    else:
        report.skip("ratio of single fits", common.NO_JWST)
    report.table(["one fit, 320 x 320", "ms (median)"], rows)


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(5, "runs of each program"))
    report = Report(5, "speed", "Fast")
    whole_runs(report, chosen.n, chosen.quick)
    single_fits(report, chosen.quick)
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
