"""What pipelines add to steps: the profiles of their steps, and names of products."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel
from stpipe import Pipeline

from webbalign.execution import AUTO, executor, limit_threads, spared_from_collection
from webbalign.execution.allocation import freed_memory_kept
from webbalign.products.atomic import refuse_input, sweep
from webbalign.products.provenance import Finding, Noted, Recipe, keep
from webbalign.steps.base import Runtime, WebbStep

__all__ = ["Later", "WebbPipeline"]

log = logging.getLogger(__name__)

Model = TypeVar("Model")


class WebbPipeline(Pipeline, WebbStep):
    """Base of the pipelines; every product that they make is saved, whatever ``save_results`` says.

    Attributes
    ----------
    written : list of Path
        The files saved by the run.
    """

    written: list[Path]
    #: Modules that worker processes import beforehand.
    workers_need: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # stpipe's pipeline calls the constructor of its step by name, passing ours by
        self._before_init(kwargs)
        super().__init__(*args, **kwargs)

    @classmethod
    def _apply_profile(cls, config: Any) -> None:
        super()._apply_profile(config)
        name = config.get("profile")
        if name is None:
            return
        steps = config.setdefault("steps", {})
        for key, step in cls.step_defs.items():
            section = steps.setdefault(key, {})
            section.setdefault("profile", name)
            step._apply_profile(section)

    @property
    def output_folder(self) -> Path:
        """Where the products go."""
        return Path(self.output_dir or ".").expanduser()

    def prepare_folder(self) -> None:
        """Make the output folder and remove what killed runs have left in it."""
        self.output_folder.mkdir(parents=True, exist_ok=True)
        for name in sweep(self.output_folder):
            log.info("removed %s, left behind by a run that was killed", name)
        self.written = []

    def write(
        self,
        model: JwstDataModel,
        name: str,
        *,
        flagged: bool = False,
        recipe: Recipe | Noted | None = None,
    ) -> Path:
        """Save a product of the pipeline, which may be none of its inputs, and remember it."""
        path = self.output_folder / name
        refuse_input(path, self.inputs)
        overwrite = self.runtime.overwrite
        save_product(model, path, flagged=flagged, overwrite=overwrite, recipe=recipe)
        model._saved_path = str(path)  # what workers are sent, instead of its arrays
        log.info("saved %s", path)
        self._remember(path)
        return path

    def kept(self, path: Path, recipe: Recipe) -> Finding | None:
        """Return what is known of a product that an earlier run has finished; None: make it.

        Only with ``resume``; see :mod:`webbalign.products.provenance`.
        """
        found = keep(path, recipe, resume=self.runtime.resume)
        if found is not None:
            self._remember(path)
        return found

    def _remember(self, path: Path) -> None:
        if path not in self.written:
            self.written.append(path)

    def save_model(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: `process` has saved everything (stpipe would save the result once more)."""

    @contextmanager
    def with_workers(self) -> Iterator[None]:
        """Have none yet: how many depends on the work, see `mapped`."""
        yield

    @contextmanager
    def mapped(self, seconds: float | None = None) -> Iterator[None]:
        """Give the steps a ``map`` made of the executor that the user chose.

        Parameters
        ----------
        seconds : float, optional
            What the work takes serially, where that can be told; small work is done serially
            where the user leaves the choice.
        """
        runtime = self.runtime
        # The images are small: a second BLAS thread waits more than it works, and on a busy machine
        # it makes the products of small matrices a hundred times slower.
        with spared_from_collection(), limit_threads(1), freed_memory_kept(runtime.memory):
            if runtime.map is not Runtime().map:
                yield
                return
            pool = executor(
                chosen_executor(runtime.executor, runtime.workers),
                runtime.workers,
                self.workers_need,
                memory=runtime.memory,
                seconds=seconds,
            )
            with pool:
                self.set_runtime(
                    replace(
                        runtime,
                        map=pool.map,
                        workers=pool.workers,
                        shares_memory=pool.shares_memory,
                    )
                )
                try:
                    yield
                finally:
                    self.set_runtime(runtime)
                    if not pool.shares_memory:  # a worker may have been killed
                        sweep(self.output_folder)

    def set_runtime(self, runtime: Runtime) -> None:
        """Hand a runtime to the pipeline and all its steps."""
        self.runtime = runtime
        for name in self.step_defs:
            getattr(self, name).runtime = runtime


class Later(Generic[Model]):
    """A model that is made, or opened, when it is needed, and only once.

    Parameters
    ----------
    make : callable
        Returns it.
    """

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make: Callable[[], Model] | None = make
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        """The model itself."""
        if self._make is not None:
            self._model, self._make = self._make(), None
        return cast("Model", self._model)

    def close(self) -> None:
        """Close it, if it was ever needed."""
        if self._model is not None:
            cast("Any", self._model).close()


def save_product(
    model: JwstDataModel,
    path: Path,
    *,
    flagged: bool,
    overwrite: bool,
    recipe: Recipe | Noted | None,
) -> None:
    """Save a product in the way that suits it; `flagged`: only pixels and statuses have changed."""
    from webbalign.products import held, models
    from webbalign.products.flagged import save_flagged

    if isinstance(model, CubeModel) and (held.is_held(model) or held.is_large(model.data)):
        held.save_held(model, path, flagged=flagged, overwrite=overwrite, recipe=recipe)
    else:
        save = save_flagged if flagged else models.save
        save(model, path, overwrite=overwrite, recipe=recipe)


def chosen_executor(kind: Any, workers: int | None) -> Any:
    """Return the executor that is meant where none is named: serial, or auto for several workers.

    From Python nothing starts processes that was not asked to: a script without
    ``if __name__ == "__main__":`` would be run by each of them.
    """
    if kind is not None:
        return kind
    return "serial" if workers in (None, 1) else AUTO
