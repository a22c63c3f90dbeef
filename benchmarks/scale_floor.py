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


def measured(counts: tuple[int, ...], ref_nints: int, n: int) -> dict[int, dict[str, float]]:
    """Return the CPU times per pair (ms) of the parts, for exposures of some integrations."""
    made = common.simulated(nints=20 if max(counts) > 2 else 2, ref_nints=ref_nints)
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
    npsfs = len(references)
    size = None
    found = {}
    for count in counts:
        part = slice(0, count)
        sets = ShiftedSets(references, job(part))
        with QuadWriter(Path(folder) / "a_psfalign.fits", sets.shape, stack) as writer:
            shift = ShiftJob(writer.sets)
            blocks = [images for _, images in sets.blocks(0)]
            whole = Images(*map(np.concatenate, zip(*blocks, strict=True)))
            times = {
                "fits": seconds(lambda: job(part), n),  # noqa: B023
                "shift and write": seconds(
                    lambda: [shift((i, sets)) for i in range(count)], n  # noqa: B023
                ),
                "write": seconds(
                    lambda: [
                        writer.sets.put(i, slice(0, npsfs), whole)  # noqa: B023
                        for i in range(count)  # noqa: B023
                    ], n,
                ),
            }  # fmt: skip
        size = size or next(references.blocks())[1]._shifter(0, options.shift_padding)._size
        times["inverse FFTs alone"] = count * seconds(inverse_transforms(npsfs, size), n)
        found[count] = {name: 1e3 * value / (count * npsfs) for name, value in times.items()}
    return found


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__, n=(5, "repetitions"))
    report = Report("5.0", "scale_floor", "Scale: the 4-D alignment and its floor")
    counts = (2,) if chosen.quick else (2, 10)
    found = measured(counts, 1 if chosen.quick else 4, chosen.n)
    for count, times in found.items():
        bottom = times["inverse FFTs alone"] + times["write"]
        what = f"{count} integrations"
        moved = times["shift and write"] / bottom
        report.below(f"aligned references made and written, over the floor, {what}", moved,
                     LIMIT, ".2f")  # fmt: skip
        total = moved + times["fits"] / bottom
        report.below(f"the same with the fits of shift and flux ratio, {what}", total, LIMIT,
                     ".2f")  # fmt: skip
    names = list(found[counts[0]])
    rows = [[name, *(f"{found[count][name]:.3f}" for count in counts)] for name in names]
    report.table(["CPU time per pair, ms", *(f"{count} integrations" for count in counts)], rows)
    report.note(
        "36 references of NIRCam 320 x 320; the floor is one real inverse FFT in single precision "
        "per aligned image (padded), and writing SCI, ERR and DQ of the product. What is prepared "
        "for a reference serves all integrations of a block."
    )
    return report.write()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
