"""What a product was made from: written into it, and compared when a run is resumed.

A :class:`Recipe` says all that a product depends on: the step, the options that matter to it, the
content of its input files, and the version of the program. It is written into the product together
with a hash of the product's own content. A product is *done* if it has the recipe that it would be
made by now, and its content is what was written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from webbalign.products._recipes import (
    Finding,
    Noted,
    Provenance,
    Recipe,
    State,
    of_inputs,
    of_options,
)
from webbalign.products._sealed_files import can_be_sealed, is_whole, read_text
from webbalign.products.content import content_hash

__all__ = [
    "Finding", "Noted", "Provenance", "Recipe", "State", "judge", "keep", "of_inputs", "of_options",
    "read_provenance", "survey",
]  # fmt: skip

log = logging.getLogger(__name__)

# Folders below the one that is looked at: bands, and what wcs-adjust get keeps of them.
_LAYOUT = ("*", "*/*", "*/*/*")


def read_provenance(path: str | Path) -> Provenance | None:
    """Return what a product says of itself; None if it says nothing that can be understood."""
    path = Path(path)
    try:
        text = read_text(path) if path.is_file() else None
    except OSError:
        return None
    return None if text is None else Provenance.from_text(text)


def judge(path: str | Path, recipe: Recipe) -> Finding:
    """Say what is known of a product that would be made by a recipe now."""
    path = Path(path)
    if not path.is_file():
        return Finding(path, State.MISSING)
    stored = read_provenance(path)
    try:
        if stored is None:
            whole = is_whole(path)
            return Finding(path, State.FOREIGN, () if whole else ("cut short or damaged",))
        if not is_whole(path) or stored.content != content_hash(path):
            return Finding(path, State.CHANGED, ("not what was written",))
        reasons = [*stored.recipe.differences(recipe), *_lacking(path, stored)]
    except OSError as error:
        return Finding(path, State.CHANGED, (f"cannot be read ({error.strerror})",))
    if "hooks" in recipe.options:
        reasons.append("hooks, which may do anything")
    if reasons:
        return Finding(path, State.STALE, tuple(reasons))
    return Finding(path, State.DONE, notes=stored.notes)


def _lacking(path: Path, stored: Provenance) -> Iterator[str]:
    """Say what is wrong with the files that belong to a product."""
    for name, content in stored.beside.items():
        file = path.with_name(name)
        if not file.is_file():
            yield f"{name} is missing"
        elif content_hash(file) != content:
            yield f"{name} is not what was written"


def keep(path: str | Path, recipe: Recipe, *, resume: bool = True) -> Finding | None:
    """Return what is known of a product that need not be made again; None if it has to be.

    Parameters
    ----------
    path : str or Path
    recipe : Recipe
        By which it would be made.
    resume : bool
        Whether products may be kept at all.
    """
    if not resume:
        return None
    found = judge(path, recipe)
    if found.state is State.DONE:
        log.info("kept %s, unchanged", path)
        return found
    if found.state is not State.MISSING:
        reasons = f" ({'; '.join(found.reasons)})" if found.reasons else ""
        say = log.warning if found.state is State.CHANGED else log.info
        say("%s: %s%s, is made again", path, found.state.value, reasons)
    return None


def survey(folder: str | Path, inputs: Iterable[str | Path] = ()) -> list[Finding]:
    """Say of the products in a folder, and in the folders of it, what they say of themselves.

    A product is stale if it was made by another version, or from a file of this folder that is
    another one now. Inputs that lie elsewhere are looked at if they are given.

    Parameters
    ----------
    folder : str or Path
    inputs : iterable of str or Path
        Files of which products were made, or should have been: one from which nothing in the
        folder is made, as it is from others, is told as missing.

    Returns
    -------
    list of Finding
        By place; files that say nothing of themselves only of the folder itself.
    """
    top = Path(folder)
    files = [path for depth in _LAYOUT for path in sorted(top.glob(depth)) if path.is_file()]
    files = [path for path in files if not path.parent.name.startswith(".")]
    given = {path.name: path for path in map(Path, inputs)}
    # (the folder's own files are the first, and stay)
    places = given | {path.name: path for path in reversed(files)}
    stored = {path: read_provenance(path) for path in files if can_be_sealed(path)}
    found: dict[Path, Finding] = {}

    def place(product: Path, name: str) -> Path | None:
        if name == product.name:  # it has the name of its input, which lies elsewhere
            return given.get(name)
        beside = product.with_name(name)
        return beside if beside in stored else places.get(name)

    def look(path: Path) -> Finding:
        if path not in found:
            own = stored.get(path)
            found[path] = Finding(path, State.FOREIGN)  # should it name itself
            if own is not None:
                found[path] = _by_itself(path, own, place, look)
        return found[path]

    told = [look(path) for path, own in stored.items() if own is not None or path.parent == top]
    return [*told, *_lost(given, stored)]


def _lost(given: Mapping[str, Path], stored: Mapping[Path, Provenance | None]) -> Iterator[Finding]:
    """Tell products that others announce, and inputs of which there is no product."""
    made: dict[str, set[str]] = {}
    used: set[str] = set()
    for path, own in stored.items():
        for name in own.notes.get("products", ()) if own is not None else ():
            if not path.with_name(name).is_file():
                yield Finding(path.with_name(name), State.MISSING, (f"named by {path.name}",))
        if own is not None:
            used |= set(own.recipe.inputs)
            if len(own.recipe.inputs) == 1:
                made.setdefault(own.recipe.step, set()).update(own.recipe.inputs)
    for name, path in given.items():
        steps = [step for step, names in made.items() if names & set(given) and name not in names]
        if steps or name not in used:
            by = f" by {', '.join(steps)}" if steps else ""
            yield Finding(path, State.MISSING, (f"nothing made from it{by}",))


def _by_itself(
    path: Path,
    stored: Provenance,
    place: Callable[[Path, str], Path | None],
    look: Callable[[Path], Finding],
) -> Finding:
    inputs = stored.recipe.inputs
    now = {name: file for name in inputs if (file := place(path, name)) is not None}
    current = {**inputs, **{name: content_hash(file) for name, file in now.items()}}
    item = judge(path, replace(stored.recipe, inputs=current, version=Recipe("").version))
    behind = [file for file in now.values() if look(file).state in (State.STALE, State.CHANGED)]
    if item.state is State.DONE and behind:
        words = tuple(f"{file.name} is {look(file).state.value}" for file in behind)
        return Finding(path, State.STALE, words)
    return item
