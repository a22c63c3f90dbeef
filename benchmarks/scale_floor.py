"""Scale, the numerics: the 4-D alignment against its inverse FFTs and writing the product."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import scipy.fft

from benchmarks.report import Report
from webbalign.core.registration import AlignRefs
from webbalign.products import models
from webbalign.products.references import find_psfmask
from webbalign.products.shared_cubes import Images, SharedCube
from webbalign.products.streams import QuadWriter
from webbalign.steps import OutlierDetectionStep, StackRefsStep
from webbalign.steps._fitting import FitJob
from webbalign.steps._references import SharedReferences
from webbalign.steps._shifting import ShiftedSets, ShiftJob

LIMIT = 1.6


def seconds(work: Callable[[], object], n: int) -> float:
    """Return the median CPU time of some calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(n):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return median(taken)


def inverse_transforms(npsfs: int, padded: tuple[int, int]) -> Callable[[], None]:
    """Return what transforms one spectrum per reference back, in the precision that is used."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=padded).astype(np.float32)
    spectrum = scipy.fft.rfft2(image)

    def work() -> None:
        for _ in range(npsfs):
            scipy.fft.irfft2(spectrum, padded, workers=1)

    return work


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(7, "repetitions"))
    report = Report("5.0", "scale_floor", "Scale: the 4-D alignment and its floor")
    made = common.simulated(nints=2, ref_nints=1 if chosen.quick else 4)
    folder = common.fresh("floor")
    members = json.loads(made.association.read_text())["products"][0]["members"]
    psf = [item["expname"] for item in members if item["exptype"] == "psf"]
    (target, *_) = [item["expname"] for item in members if item["exptype"] == "science"]
    flagged = [OutlierDetectionStep().run(str(made.folder / name)) for name in psf]
    stack = StackRefsStep().run(flagged)
    science = models.open_cube(made.folder / target)
    options, nowhere = AlignRefs(), np.zeros(stack.shape[1:], bool)
    mask = find_psfmask(science, str(made.mask), "weight")
    references = SharedReferences(SharedCube(stack, folder), nowhere, options, None)
    assert mask is not None
    job = FitJob(SharedCube(science, folder), nowhere, mask.weight, references, None)
    part = slice(0, len(science.data))
    fits = job(part)
    sets = ShiftedSets(references, fits)
    n, npsfs = len(fits), len(references)
    with QuadWriter(Path(folder) / "a_psfalign.fits", sets.shape, stack) as writer:
        shift = ShiftJob(writer.sets)
        blocks = [images for _, images in sets.blocks(0)]
        whole = Images(*map(np.concatenate, zip(*blocks, strict=True)))
        times = {
            "fits": seconds(lambda: job(part), chosen.n),
            "shift and write": seconds(lambda: [shift((i, sets)) for i in range(n)], chosen.n),
            "write": seconds(
                lambda: [writer.sets.put(i, slice(0, npsfs), whole) for i in range(n)], chosen.n
            ),
        }
    size = next(references.blocks())[1]._shifter(0, options.shift_padding)._size
    floor = n * seconds(inverse_transforms(npsfs, size), chosen.n)
    bottom = floor + times["write"]
    pairs = n * npsfs
    moved = times["shift and write"] / bottom
    report.below("aligned references made and written, over the floor", moved, LIMIT, ".2f")
    total = (times["fits"] + times["shift and write"]) / bottom
    report.below("the same with the fits of shift and flux ratio", total, LIMIT, ".2f")
    rows = [
        [name, f"{1e3 * value / pairs:.3f}"]
        for name, value in {**times, "inverse FFTs alone": floor}.items()
    ]
    report.table(["part", "CPU time per pair, ms"], rows)
    report.note(
        f"{n} integrations, {npsfs} references of NIRCam 320 x 320, padded to {size[1]} x {size[0]}"
        "; the floor is one real inverse FFT in single precision per aligned image, and writing "
        "SCI, ERR and DQ of the product."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
