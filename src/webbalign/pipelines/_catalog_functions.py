"""Catalogs of stars that a function of the user's makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from stdatamodels.jwst.datamodels import ImageModel, JwstDataModel

from webbalign.core.errors import InputError, OptionError
from webbalign.products.atomic import atomic_path
from webbalign.products.catalogs import read_catalog
from webbalign.products.models import quiet_schema_warnings
from webbalign.products.names import root

__all__ = ["catalog_function", "describe_function", "make_catalog"]

_EXPECTED = "a callable, or the name of one: package.module.function"


def catalog_function(function: Callable[..., Any] | str | None) -> Callable[..., Any] | None:
    """Find the function.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    if function is None or callable(function):
        return function
    module, _, name = str(function).replace(":", ".").rpartition(".")
    try:
        found = getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(
            f"option 'custom_catalog_function' is {function!r} ({error}) - give {_EXPECTED}"
        ) from None
    if not callable(found):
        raise OptionError(f"option 'custom_catalog_function' is {function!r} - give {_EXPECTED}")
    return found


def describe_function(function: Callable[..., Any] | None, kwargs: Mapping[str, Any]) -> str:
    """Describe a function so that a changed one is known as another."""
    if function is None:
        return ""
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    return f"{name} {sorted(kwargs.items())!r} {source}"


def make_catalog(
    path: Path, function: Callable[..., Any], kwargs: Mapping[str, Any], folder: Path
) -> Path:
    """Call the function for one image.

    Parameters
    ----------
    path : Path
        The image.
    function : callable
        Called with the data model, with a folder for its files where it takes two arguments, and
        with `kwargs`. It returns a table with x and y (or xcentroid and ycentroid, 0-based
        pixels), or the name of a file that holds one, or the model with
        ``meta.tweakreg_catalog`` set to it.
    kwargs : mapping
    folder : Path
        For a table that is returned, and for what the function writes.

    Returns
    -------
    Path
        The catalog.

    Raises
    ------
    InputError
        If what it returns is no catalog.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_schema_warnings(), ImageModel(path) as model:
        given = (model, folder) if _takes_folder(function, kwargs) else (model,)
        result = function(*given, **kwargs)
        name = result.meta.tweakreg_catalog if isinstance(result, JwstDataModel) else result
    if name is None:
        found = f"the custom catalog function gave nothing for {path.name}"
        raise InputError(path, found, "a table, a file, or a model with meta.tweakreg_catalog")
    if isinstance(name, str | Path):
        return _file(Path(name), path, folder)
    return _written(name, path, folder)


def _takes_folder(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a second positional argument is left when the keywords have been given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    free = [item for item in parameters if item.kind in kinds and item.name not in kwargs]
    return len(free) > 1 and free[1].default is inspect.Parameter.empty


def _file(name: Path, image: Path, folder: Path) -> Path:
    for candidate in (name, image.parent / name, folder / name):
        if candidate.is_file():
            read_catalog(candidate)
            return candidate
    raise InputError(name, f"no such file (the custom catalog of {image.name})", "a catalog")


def _written(table: Any, image: Path, folder: Path) -> Path:
    from astropy.table import Table

    try:
        content = Table(table)
    except Exception as error:  # whatever was returned
        found = f"the custom catalog function gave a {type(table).__name__} ({error})"
        raise InputError(image, found, "a table with x and y") from None
    final = folder / f"{root(image)}_custom_cat.ecsv"
    with atomic_path(final) as temporary:
        content.write(temporary, format="ascii.ecsv")
    read_catalog(final)
    return final
