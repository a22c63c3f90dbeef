"""What a step's product is made from, and whether an earlier run has made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from webbalign.products import models
from webbalign.products.provenance import Recipe, keep, of_inputs, of_options
from webbalign.products.streams import open_aligned

__all__ = ["finished", "recipe_of", "reopened"]

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
    inputs = list(files)
    for name in _FILES:
        value = getattr(step, name, None)
        if value and Path(str(value)).is_file():
            options[name] = Path(value).name
            inputs.append(value)
    if step.skip:
        options = {"skip": "True"}
    name = str(step.class_alias).removeprefix("webbalign_")
    return Recipe(name, options | step.hooks | more, of_inputs(inputs))


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
