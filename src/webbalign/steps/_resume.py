"""What a step's product is made from, and whether an earlier run has made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.products import models
from webbalign.products.provenance import Recipe, keep, of_inputs, of_options
from webbalign.products.solutions import Solution
from webbalign.products.streams import open_aligned

__all__ = ["finished", "is_lasting", "recipe_of", "recipe_with_files", "reopened"]

# Options that decide what else is written, not what a product holds.
_NOT_OF_PRODUCT = ("save_psfalign", "save_psf_model", "save_intermediate_results")
# Options that name a file; what it holds matters, not where it lies.
_FILES = ("override_psfmask", "output_wcs", "abs_refcat", "catfile")
# The steps with one product, and how it is opened.
_OPENED: Mapping[str, Callable[[Path], Any]] = {
    "webbalign_outlier_detection": models.open_cube,
    "webbalign_stack_refs": models.open_cube,
    "webbalign_align_refs": open_aligned,
    "webbalign_klip": models.open_cube,
    "webbalign_resample": models.open_image,
}


def recipe_of(step: Any, files: Iterable[str | Path], **more: str) -> Recipe:
    """Return what a step makes of some files.

    Parameters
    ----------
    step : WebbStep
        With the options that are used.
    files : iterable of str or Path
        Its inputs, without those that options name.
    **more
        What else the product depends on, as text.
    """
    options = {} if step.options_class is None else of_options(step.options, _NOT_OF_PRODUCT)
    named = {name: getattr(step, name, None) for name in _FILES}
    name = str(step.class_alias).removeprefix("webbalign_")
    recipe = recipe_with_files(name, options, files, named)
    if step.skip:
        recipe = replace(recipe, options={"skip": "True"})
    return replace(recipe, options={**recipe.options, **step.hooks, **more})


def recipe_with_files(
    step: str, options: Mapping[str, str], files: Iterable[str | Path], values: Mapping[str, Any]
) -> Recipe:
    """Return a recipe in which files that options name count by what they hold.

    Parameters
    ----------
    step : str
    options : mapping
        As text.
    files : iterable of str or Path
        The inputs.
    values : mapping
        Of all options.
    """
    given = {name: values.get(name) for name in _FILES}
    named = {name: Path(value) for name, value in given.items() if value and Path(value).is_file()}
    texts = {name: path.name for name, path in named.items()}
    return Recipe(step, {**options, **texts}, of_inputs([*files, *named.values()]))


def is_lasting(solution: Solution) -> bool:
    """Tell whether a resumed run may keep a solution: not if a catalog's service gave nothing."""
    return bool(solution.meta.get("n_catalog", 1))


def finished(step: Any, files: Iterable[str | Path]) -> Path | None:
    """Return the product that a step run by itself would make, if it is there, unchanged.

    Parameters
    ----------
    step : WebbStep
        That knows its inputs.
    files : iterable of str or Path
        What it is run on.
    """
    files = list(files)
    known = step.class_alias in _OPENED and step.runtime.resume and step.save_results
    # more products than one: all of them are made again
    several = any(getattr(step, name, False) for name in (*_NOT_OF_PRODUCT[1:], "single"))
    if not known or several:
        return None
    suffix = step.suffix or step.default_suffix()
    path = Path(step.make_output_path(basepath=step.output_file, suffix=suffix))
    if keep(path, step.recipe(files)) is None:
        return None
    if step.class_alias != "webbalign_align_refs":
        return path
    table = path.with_name(f"{path.stem}_shifts.ecsv")
    return path if keep(table, step.recipe(files)) else None


def reopened(step: Any, path: Path) -> Any:
    """Open the product of a step."""
    return _OPENED[step.class_alias](path)
