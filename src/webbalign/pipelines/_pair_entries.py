"""Entries of the table from the correlation of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from webbalign.core.astrometry import ImageStatus
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.image_pairs import GroupFit, ImagePair, PairSolution
from webbalign.core.planes import TangentPlane
from webbalign.pipelines._star_bands import BandJob
from webbalign.products.corrector import Correction
from webbalign.products.reference_catalogs import AbsoluteCatalog
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection

__all__ = ["failed_entry", "pair_entry"]


def failed_entry(
    job: BandJob, key: AdjustKey, n_images: int, bands: tuple[str, ...]
) -> VisitCorrection:
    """Make the entry of a visit without a good pixel."""
    reason = "no good pixel where it overlaps other visits"
    return VisitCorrection(
        key, Correction.none(), status=AdjustStatus.FAILED, reason=reason, n_images=n_images,
        bands=bands, methods=(job.method,),
    )  # fmt: skip


_NO_CATALOG = "images are compared with one another only, no catalog holds them; see combined"


def pair_entry(
    job: BandJob,
    key: AdjustKey,
    n_images: int,
    bands: tuple[str, ...],
    solution: PairSolution,
    wrong: Sequence[ImagePair],
    fit: GroupFit,
    plane: TangentPlane,
) -> VisitCorrection:
    """Make the entry of a visit from what the pairs gave."""
    ra, dec = plane.centre.tolist()
    own = [k for k, pair in enumerate(solution.pairs) if fit.name in (pair.first, pair.second)]
    used = [k for k in own if solution.used[k]]
    squares = np.sum(np.square(solution.closure[used]), axis=-1)
    status = _status(job, fit)
    reason = _reason(fit, solution, own, wrong)
    return VisitCorrection(
        key=key,
        correction=Correction(fit.correction.matrix, fit.correction.shift),
        reference=(ra, dec),
        cov=fit.correction.cov,
        status=status,
        reason=reason or (_NO_CATALOG if status is AdjustStatus.RELATIVE_ONLY else ""),
        n_images=n_images,
        n_used=len(used),
        n_pairs=len(used),
        rms=float(np.sqrt(squares.mean())) if used else np.nan,
        chi2_reduced=solution.chi2_reduced if used else np.nan,
        bands=bands,
        methods=(job.method,),
    )


def _status(job: BandJob, fit: GroupFit) -> AdjustStatus:
    # no catalog holds images that are compared with one another only
    if AbsoluteCatalog.from_mapping(vars(job.options)).name and fit.status in (
        ImageStatus.ALIGNED,
        ImageStatus.REFERENCE,
    ):
        return AdjustStatus.RELATIVE_ONLY
    return AdjustStatus(str(fit.status))


def _reason(
    fit: GroupFit, solution: PairSolution, own: Sequence[int], wrong: Sequence[ImagePair]
) -> str:
    """Tell why a visit is not connected, or which of its pairs are wrong."""
    rejected = [pair for pair in wrong if fit.name in (pair.first, pair.second)]
    if fit.status is ImageStatus.UNCHANGED and not own and not rejected:
        return f"it overlaps no other visit; {fit.reason}"
    said = [fit.reason] if fit.reason else []
    said += [f"without the pair with {_other(p, fit)}, which others contradict" for p in rejected]
    for k in own:
        pair = solution.pairs[k]
        ok = pair.status is CorrelationStatus.OK
        if fit.status is ImageStatus.UNCHANGED:
            text = "contradicts others" if ok else str(pair.status)
            said.append(f"with {_other(pair, fit)}: {text}")
        elif ok and not solution.used[k] and np.isfinite(solution.closure[k]).all():
            apart = 1e3 * float(np.hypot(*solution.closure[k]))
            said.append(f"without the pair with {_other(pair, fit)}, {apart:.1f} mas off")
    return "; ".join(said)


def _other(pair: ImagePair, fit: GroupFit) -> str:
    return pair.second if pair.first == fit.name else pair.first
