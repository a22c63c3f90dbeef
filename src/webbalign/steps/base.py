"""What all steps share: options, profiles, offline references, atomic output.

stpipe asks CRDS for parameters and references and ends the process when it gets no answer; here
CRDS is looked at only where ``CRDS_PATH`` points to a cache (design: nothing needs a network).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from stdatamodels.jwst.datamodels import JwstDataModel
from stpipe import Step, config_parser
from stpipe.step import get_disable_crds_steppars

from webbalign.core.errors import OptionError, WebbalignError
from webbalign.core.options import Options, spec
from webbalign.products import models, names, remote
from webbalign.products.addresses import is_address
from webbalign.products.atomic import atomic_path, refuse_input
from webbalign.products.provenance import Recipe
from webbalign.steps._errors import for_strun
from webbalign.steps._resume import finished, recipe_of, reopened
from webbalign.steps._runtime import Runtime, current_runtime, runtime_of, with_own_map

__all__ = ["Runtime", "WebbStep"]

log = logging.getLogger(__name__)


class WebbStep(Step):
    """Base of the steps.

    Subclasses set ``options_class`` (the dataclass of their algorithm's options, from which the
    stpipe specification is made), ``product`` (suffix of their output) and ``profiles`` (what a
    profile other than the default changes).
    """

    spec = """
    output_ext = string(default='.fits')  # Output file type
    profile = option('default', 'jwst', default='default')  # Named set of options: jwst does what jwst 3.0.0 does
    """  # noqa: E501

    options_class: ClassVar[type[Options] | None] = None
    product: ClassVar[str] = ""
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    prefetch_references = False
    runtime: Runtime
    inputs: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("options_class") is not None:
            cls.spec = spec(cls.__dict__["options_class"])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._before_init(kwargs)
        super().__init__(*args, **kwargs)

    def _before_init(self, kwargs: dict[str, Any]) -> None:
        """Do what has to precede the constructor of stpipe."""
        parent = kwargs.get("parent")
        self.runtime = current_runtime() if parent is None else parent.runtime
        if kwargs.get("_validate_kwds", True):
            type(self)._apply_profile(kwargs)

    @classmethod
    def call(cls, *args: Any, **kwargs: Any) -> Any:
        """Create and run the step; besides its options, the words of :class:`Runtime` are known.

        Examples
        --------
        >>> KlipStep.call("a_crfints.fits", "a_psfalign.fits", truncate=20)  # doctest: +SKIP
        """
        with runtime_of(kwargs):
            return super().call(*_read_here(args), **kwargs)

    @classmethod
    def create(cls, source: Any, **kwargs: Any) -> Self:
        """Create the step that :meth:`call` would run on `source`, without running it."""
        with runtime_of(kwargs):
            (source,) = _read_here((source,))
            config, config_file = cls.build_config(source, **kwargs)
            config.pop("class", None)
            return cls.from_config_section(config, name=config.get("name"), config_file=config_file)

    def run(self, *args: Any) -> Any:
        """Run the step on files or models.

        Raises
        ------
        WebbalignError
            What a user can mend; as strun reports by its message alone.
        """
        if self.parent is not None:
            return super().run(*args)
        try:
            args = tuple(_read_here(args))
            self._fetch_files_of_options()
            self.inputs = tuple(_files_among(args))
            if (kept := self._finished(args)) is not None:
                return kept
            with self.with_workers():
                return super().run(*args)
        except WebbalignError as error:
            raise for_strun(error) from error.__cause__

    @contextmanager
    def with_workers(self) -> Iterator[None]:
        """Have the workers that were asked for; a pipeline sees to that itself."""
        given = self.runtime
        with with_own_map(given) as runtime:
            self.runtime = runtime
            try:
                yield
            finally:
                self.runtime = given

    def _fetch_files_of_options(self) -> None:
        """Fetch the files that options name by an address; stpipe would log the whole address."""
        for step in (self, *(getattr(self, name) for name in getattr(self, "step_defs", ()))):
            given = {name: getattr(step, name, None) for name in remote.FILE_OPTIONS}
            for name, value in remote.with_files_here(given).items():
                if value != given[name]:
                    setattr(step, name, value)

    def _finished(self, args: tuple[Any, ...]) -> Any:
        """Return the product that an earlier run has made of the same; None if there is none."""
        if not self.runtime.resume or not args or len(self.inputs) != _count(args):
            return None
        self.set_primary_input(args[0])
        path = finished(self, map(self.make_input_path, self.inputs))
        return None if path is None else reopened(self, path)

    def recipe(self, files: Iterable[str | Path]) -> Recipe:
        """Return what the step makes of some files."""
        paths = [Path(path) for path in files]
        more = {"order": " ".join(path.name for path in paths)} if len(paths) > 1 else {}
        return recipe_of(self, paths, **more)

    @property
    def hooks(self) -> dict[str, str]:
        """What a recipe says of the hooks of the step; empty without hooks."""
        hooks = [*(self.pre_hooks or ()), *(self.post_hooks or ())]
        return {"hooks": " ".join(map(str, hooks))} if hooks else {}

    @property
    def options(self) -> Any:
        """The options of the algorithm, checked.

        Raises
        ------
        OptionError
            Naming the option that has a value which is not allowed.
        """
        if self.options_class is None:
            raise TypeError(f"{type(self).__name__} has no options")
        return self.options_class.from_mapping(vars(self))

    # Profiles ------------------------------------------------------------------------------------

    @classmethod
    def from_config_section(cls, config: Any, *args: Any, **kwargs: Any) -> Self:
        """Build from a parameter file's section, the profile filling what it leaves open."""
        cls._apply_profile(config)
        return super().from_config_section(config, *args, **kwargs)

    @classmethod
    def _apply_profile(cls, config: Any) -> None:
        name = str(config.get("profile") or "default")
        for key, value in cls._profile(name).items():
            config.setdefault(key, value)

    @classmethod
    def _profile(cls, name: str) -> Mapping[str, Any]:
        if name != "default" and name not in PROFILES:
            raise OptionError(f"option 'profile' is {name!r} - give {' | '.join(PROFILES)}")
        return cls.profiles.get(name, {})

    # CRDS ----------------------------------------------------------------------------------------

    @classmethod
    def _get_crds_parameters(cls, dataset: Any) -> tuple[dict[str, Any], str]:
        if not os.environ.get("CRDS_PATH"):
            return {}, "jwst"
        from webbalign.products.references import crds_parameters

        return crds_parameters(dataset), "jwst"

    @classmethod
    def get_config_from_reference(
        cls, dataset: Any, disable: bool | None = None, crds_observatory: str | None = None
    ) -> Any:
        """Look for ``pars-*`` in the CRDS cache, if there is one; never asks a server."""
        disabled = get_disable_crds_steppars() if disable is None else disable
        if disabled or not os.environ.get("CRDS_PATH"):
            return cls._empty_config()
        parameters = dataset
        if not isinstance(dataset, dict):
            parameters, crds_observatory = cls._get_crds_parameters(dataset)
        return cls._get_config_from_parameters(parameters, crds_observatory)

    @classmethod
    def _get_config_from_parameters(cls, parameters: dict[str, Any], observatory: Any) -> Any:
        from webbalign.products.references import find_parameters

        path = find_parameters(cls.get_config_reftype(), parameters)
        if path is None:
            return config_parser.ConfigObj()
        config = config_parser.load_config_file(str(path))
        log.info("%s: parameters from %s", cls.__name__, path)
        _drop_unknown(config, cls.load_spec_file(), cls.__name__)
        return config

    def prefetch(self, *args: Any) -> None:
        """Nothing is fetched: references are found when they are needed."""

    def finalize_result(self, result: Any, reference_files_used: Any) -> None:
        """Nothing: what was used is recorded by the step itself."""

    # Input and output ----------------------------------------------------------------------------

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Name the loggers that stpipe configures."""
        return ("webbalign", "stpipe")

    @classmethod
    def _datamodels_open(cls, init: Any, **kwargs: Any) -> Any:
        return models.open_cube(init)

    def open_input(self, source: Any, *, wcs: bool = True) -> Any:
        """Open an exposure that the step is going to change.

        A file is opened; a model given by a user is copied; a model given by a pipeline is used
        as it is.
        """
        if not isinstance(source, JwstDataModel):
            return models.open_cube(self.make_input_path(str(source)), wcs=wcs)
        model = models.open_cube(source)
        if self.parent is not None:
            return model
        copied = model.copy()
        copied._source_path = getattr(model, "_source_path", None)
        return copied

    def record(self, model: JwstDataModel, status: str, value: str = "COMPLETE") -> None:
        """Write the step's status and options into a product."""
        setattr(model.meta.cal_step, status, value)
        options = f": {models.describe(self.options)}" if self.options_class else ""
        models.add_history(model, f"webbalign {type(self).__name__} {value}{options}")

    @staticmethod
    def remove_suffix(name: str) -> tuple[str, str]:
        """Cut the product suffix from a file name."""
        return names.root(name), "_"

    def default_suffix(self) -> str:
        """Return the suffix of the step's product."""
        return self.product or super().default_suffix()

    def save_model(
        self,
        model: Any,
        suffix: str | None = None,
        idx: int | None = None,
        output_file: str | None = None,
        force: bool = False,
        **components: Any,
    ) -> Any:
        """Save a product atomically, where stpipe would."""
        output_file = output_file or self.output_file
        if not (force or self.save_results or output_file):
            return None
        path = self.make_output_path(basepath=output_file, suffix=suffix, idx=idx, **components)
        return str(self.save_product(model, path))

    def save_product(self, model: JwstDataModel, path: str | Path) -> Path:
        """Save a product under its final name, which may not be that of an input."""
        refuse_input(path, map(self.make_input_path, self.inputs))
        recipe = self.recipe(map(self.make_input_path, self.inputs)) if self.inputs else None
        saved = models.save(model, path, overwrite=self.runtime.overwrite, recipe=recipe)
        log.info("saved %s", saved)
        return saved

    def export_config(self, filename: str | Path, include_metadata: bool = False) -> None:
        """Write the parameters into a file, whole or not at all."""
        with atomic_path(filename) as temporary:
            super().export_config(temporary, include_metadata=include_metadata)

    def get_pars(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters, as they may be stored and logged: no address with a signature."""
        return _shown(super().get_pars(*args, **kwargs))


PROFILES = ("default", "jwst")


def _files_among(args: tuple[Any, ...]) -> Iterator[str]:
    for arg in args:
        if isinstance(arg, (str, Path)):
            yield str(arg)
        elif isinstance(arg, (list, tuple)):
            yield from _files_among(tuple(arg))


def _count(args: tuple[Any, ...]) -> int:
    """Return how many inputs there are, models and all."""
    return sum(_count(tuple(arg)) if isinstance(arg, (list, tuple)) else 1 for arg in args)


def _read_here(args: Iterable[Any]) -> list[Any]:
    """Write files as text, those elsewhere fetched: stpipe takes a Path for no file name."""
    found = []
    for arg in args:
        if isinstance(arg, (list, tuple)):
            named = [item for item in arg if isinstance(item, (str, Path))]
            here = iter(remote.all_local(named))
            arg = [str(next(here)) if isinstance(item, (str, Path)) else item for item in arg]
        elif isinstance(arg, Path) or is_address(arg):
            arg = str(remote.local(arg))
        found.append(arg)
    return found


def _shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Mask what gives access in the addresses among parameters, and name fetched files by them."""
    return {
        name: _shown(value)
        if isinstance(value, Mapping)
        else remote.shown(value)
        if name in remote.FILE_OPTIONS and isinstance(value, (str, Path))
        else value
        for name, value in parameters.items()
    }


def _drop_unknown(config: Any, known: Any, where: str) -> None:
    """Log every value of a ``pars-*`` reference and drop what belongs to other programs' steps."""
    for key in list(config):
        if key in ("class", "name"):
            continue
        if key not in known:
            log.info("%s: %s = %s from pars is not an option here", where, key, config[key])
            del config[key]
        elif isinstance(config[key], Mapping):
            _drop_unknown(config[key], known[key], f"{where}.{key}")
        else:
            log.info("%s: %s = %s from pars", where, key, config[key])
