"""What a step over many images is given: an association, files, models, or a library of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stdatamodels.jwst.datamodels import JwstDataModel
from stpipe.library import AbstractModelLibrary

from webbalign.core.errors import InputError
from webbalign.products.addresses import base_name, is_address, written_address
from webbalign.products.image_associations import ImageAssociation, load_image_association
from webbalign.products.library import ModelLibrary
from webbalign.products.remote import all_local, local

__all__ = ["Images", "gather", "in_turn"]


@dataclass(frozen=True, eq=False)
class Images:
    """The images of one run: files, or a library of models.

    Attributes
    ----------
    paths : tuple of Path
        The files; empty if a library is given.
    library : AbstractModelLibrary or None
    groups : tuple of str
        What an association says about the group of each image; empty where it says nothing.
    catalogs : mapping
        ``tweakreg_catalog`` of the association's members, by file name.
    folder : Path
        To which the names of these catalogs are relative.
    association : mapping
        ``table_name`` and ``asn_pool`` of the association, for the headers.
    ignored : tuple of (str, str)
        Name and role of the members that take no part.
    """

    paths: tuple[Path, ...] = ()
    library: AbstractModelLibrary | None = None
    groups: tuple[str, ...] = ()
    catalogs: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()
    association: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths) if self.library is None else len(self.library)


def gather(source: Any, find: Callable[[str], str] = str) -> Images:
    """Sort out what a user gave.

    Parameters
    ----------
    source : str, Path, mapping, data model, AbstractModelLibrary, or a sequence of these
        An association (a JSON file or its content), a file, a model, a library; or files, or
        models.
    find : callable
        Makes the path of a file from the name that was given.

    Raises
    ------
    InputError
        If it is nothing of that kind, or two images have the same name.
    """
    if isinstance(source, AbstractModelLibrary):
        return _of_library(source)
    if isinstance(source, Mapping):
        return _of_association(load_image_association(source))
    if isinstance(source, Sequence) and not isinstance(source, str) and len(source) == 1:
        return gather(source[0], find)
    if _is_association(source):
        return _of_association(load_image_association(find(str(local(source)))))
    single = isinstance(source, (str, Path, JwstDataModel))
    items: list[Any] = [source] if single else list(source)
    if not items:
        raise InputError(None, "no images given", "an association, or _cal files")
    if all(isinstance(item, JwstDataModel) for item in items):
        # models that a user holds are not changed
        return _of_library(ModelLibrary([item.copy() for item in items]))
    if not all(isinstance(item, (str, Path)) for item in items):
        kinds = ", ".join(sorted({type(item).__name__ for item in items}))
        raise InputError(None, f"a list of {kinds}", "files, or data models")
    if len(items) > 1:
        for item in items:
            if _is_association(item):
                raise InputError(item, "an association among files", "one association, or images")
    return _of_files([Path(find(str(path))) for path in all_local(items)])


def _is_association(item: Any) -> bool:
    if not isinstance(item, (str, Path)):
        return False
    name = base_name(written_address(item)) if is_address(item) else str(item)
    return name.lower().endswith(".json")


def _of_association(association: ImageAssociation) -> Images:
    images = _of_files(association.paths)
    return Images(
        paths=images.paths,
        groups=tuple(association.group_ids),
        catalogs=association.catalogs,
        folder=association.folder,
        association={"table_name": association.table_name, "asn_pool": association.pool_name},
        ignored=association.ignored,
    )


def _of_files(paths: Sequence[Path]) -> Images:
    names = [path.name for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(twice[0], "two images of this name", "different names")
    return Images(paths=tuple(paths), groups=("",) * len(paths))


def _of_library(library: AbstractModelLibrary) -> Images:
    catalogs, groups = {}, []
    for member in library.asn["products"][0]["members"]:
        groups.append(str(member.get("group_id") or ""))
        if member.get("tweakreg_catalog") is not None:
            catalogs[Path(member["expname"]).name] = str(member["tweakreg_catalog"])
    folder = Path(getattr(library, "_asn_dir", None) or ".")
    return Images(library=library, groups=tuple(groups), catalogs=catalogs, folder=folder)


def in_turn(
    library: AbstractModelLibrary, function: Callable[[JwstDataModel, int], Any], *, modify: bool
) -> Iterator[Any]:
    """Apply a function to the models of a library and their numbers, one after the other."""
    with library:
        for index, model in enumerate(library):
            try:
                result = function(model, index)
            finally:
                library.shelve(model, index, modify=modify)
            yield result
