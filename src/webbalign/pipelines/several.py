"""Several associations in one run: side by side where there are enough of them for all workers."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.execution import Executor, Outcome, executor
from webbalign.pipelines.coron3 import Coron3Pipeline, Coron3Result, run
from webbalign.products.associations import read_association
from webbalign.products.names import root

__all__ = ["AssociationRun", "refuse_clashes", "run_several", "several_text"]

log = logging.getLogger(__name__)

# What a small association takes, in seconds: 2 x 4 and 9 integrations of 320 x 320 pixels take
# 4.8 s of CPU time, 2.2 s of them before the work begins.
SECONDS_EACH = 3.0


@dataclass(frozen=True)
class AssociationRun:
    """What became of one association.

    Attributes
    ----------
    association : str
    result : Coron3Result or None
        None if it failed.
    error : Exception or None
        Why.
    """

    association: str
    result: Coron3Result | None = None
    error: Exception | None = None

    @property
    def status(self) -> str:
        """``ALIGNED``, ``NOT ALIGNED`` (products were written) or ``FAILED``."""
        if self.result is None:
            return "FAILED"
        return "NOT ALIGNED" if self.result.exit_status else "ALIGNED"


def run_several(
    associations: Sequence[str | Path],
    *,
    executor_of: Any = "serial",
    workers: int | None = None,
    memory: int | None = None,
    progress: Any = None,
    **options: Any,
) -> Iterator[AssociationRun]:
    """Run coron3 on each association; yield what became of them, in their order.

    If there are as many associations as workers, or more, each worker runs whole associations;
    else they follow one another, and the work on each is shared among the workers. One that fails
    does not stop the others. The products are the same either way.

    Parameters
    ----------
    associations : sequence of str or Path
        Association files.
    executor_of : str or executor
        What :func:`webbalign.execution.executor` takes.
    workers, memory : int, optional
        See there.
    progress : Progress, optional
        Counts associations, or follows the steps of each.
    **options
        As for :func:`webbalign.pipelines.coron3.run`.

    Raises
    ------
    InputError
        If two associations would write the same products.
    ExecutorError
        If the workers cannot be had, or be reached any more.
    """
    refuse_clashes(associations)
    seconds = SECONDS_EACH * len(associations)
    pool = executor(
        executor_of, workers, Coron3Pipeline.workers_need, memory=memory, seconds=seconds
    )
    with pool:
        if pool.shares_memory or len(associations) < pool.workers:
            yield from _in_turn(associations, pool, memory, progress, options)
        else:
            yield from _side_by_side(associations, pool, memory, progress, options)


def _in_turn(
    associations: Sequence[str | Path],
    pool: Executor,
    memory: int | None,
    progress: Any,
    options: Mapping[str, Any],
) -> Iterator[AssociationRun]:
    for number, name in enumerate(associations, 1):
        log.info("%s (%d of %d)", name, number, len(associations))
        try:
            result = run(name, executor=pool, memory=memory, progress=progress, **options)
        except Exception as error:  # told with the others; an interruption is none
            yield _failed(str(name), error)
        else:
            yield AssociationRun(str(name), result)


def _side_by_side(
    associations: Sequence[str | Path],
    pool: Executor,
    memory: int | None,
    progress: Any,
    options: Mapping[str, Any],
) -> Iterator[AssociationRun]:
    share = None if memory is None else memory // pool.workers
    everywhere = {name: _absolute(value) for name, value in options.items()}
    everywhere["output_dir"] = os.path.abspath(options.get("output_dir", "."))
    tasks = [(_absolute(str(name), force=True), share, everywhere) for name in associations]
    if progress is not None:
        progress.start("associations", len(tasks))
    for name, outcome in zip(associations, pool.attempt(_run_alone, tasks), strict=True):
        if progress is not None:
            progress.advance()
        yield _told(str(name), outcome)
    if progress is not None:
        progress.done()


def _run_alone(task: tuple[str, int | None, Mapping[str, Any]]) -> Coron3Result:
    """Run one association serially, in a worker."""
    association, memory, options = task
    return run(association, executor="serial", memory=memory, **options)


def _told(name: str, outcome: Outcome[Coron3Result]) -> AssociationRun:
    if outcome.error is not None:
        return _failed(name, outcome.error)
    return AssociationRun(name, outcome.result)


def _failed(name: str, error: Exception) -> AssociationRun:
    log.debug("%s failed", name, exc_info=error)
    return AssociationRun(name, error=error)


def _absolute(value: Any, *, force: bool = False) -> Any:
    """Name files so that a worker elsewhere, with another current folder, finds them."""
    if isinstance(value, Mapping):
        return {name: _absolute(item) for name, item in value.items()}
    if isinstance(value, str) and "://" not in value and (force or os.path.isfile(value)):
        return os.path.abspath(os.path.expanduser(value))
    return value


def refuse_clashes(associations: Sequence[str | Path]) -> None:
    """See that no two associations write a product of the same name.

    Raises
    ------
    InputError
        Naming two that would.
    """
    writers: dict[str, list[str]] = defaultdict(list)
    for name in associations:
        for product in _products(name):
            writers[product].append(str(name))
    for product, names in writers.items():
        if len(names) > 1:
            raise InputError(
                names[1],
                f"{product} would be written by {names[0]} as well",
                "other product names or asn_id, or run them apart into different folders",
            )


def _products(name: str | Path) -> Iterator[str]:
    """Yield what tells the products of an association from those of others."""
    if "://" in str(name):
        return
    try:
        content = read_association(Path(name).expanduser(), "an association (JSON)")
        product = content["products"][0]
        yield f"{product['name']}_i2d.fits"
        for member in product["members"]:
            if str(member.get("exptype", "")).lower() == "science":
                yield f"{root(Path(member['expname']))}_{content['asn_id']}_psfsub.fits"
    except (InputError, LookupError, TypeError, AttributeError):
        return  # it fails when its turn comes, and is told with the others


def several_text(runs: Sequence[AssociationRun], explain: Any = str) -> str:
    """Return the table of what became of the associations, the failed ones named below.

    Parameters
    ----------
    runs : sequence of AssociationRun
    explain : callable
        Makes a text of an exception.
    """
    names = [Path(run.association).name for run in runs]
    width = max(len("association"), *map(len, names))
    lines = [f"{'association':{width}}  {'status':11}  product"]
    lines.append("-" * (len(lines[0]) + 20))
    for name, item in zip(names, runs, strict=True):
        made = item.result.model_path if item.result is not None else None
        lines.append(f"{name:{width}}  {item.status:11}  {made or '-'}")
    failed = [item for item in runs if item.error is not None]
    lines += ["", f"{len(runs) - len(failed)} of {len(runs)} associations done"]
    lines += [f"FAILED {item.association}: {explain(item.error)}" for item in failed]
    return "\n".join(lines)
