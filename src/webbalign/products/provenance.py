"""What a product was made from: written into it, and compared when a run is resumed.

A :class:`Recipe` says all that a product depends on: the step, the options that matter to it, the
content of its input files, and the version of the program. It is written into the product together
with a hash of the product's own content. A product is *done* if it has the recipe that it would be
made by now, and its content is what was written.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from webbalign.products._sealed_files import can_be_sealed, is_whole, read_text, write_text
from webbalign.products.content import content_hash, remember

__all__ = [
    "Finding", "Noted", "Provenance", "Recipe", "State", "judge", "keep", "of_inputs", "of_options",
    "read_provenance", "survey",
]  # fmt: skip

log = logging.getLogger(__name__)


class State(Enum):
    """What is known of a product without making it."""

    DONE = "done"
    STALE = "stale"
    CHANGED = "changed"
    FOREIGN = "foreign"
    MISSING = "missing"


@dataclass(frozen=True)
class Recipe:
    """All that a product depends on.

    Attributes
    ----------
    step : str
        What makes it.
    options : mapping
        Text of each option that matters to it.
    inputs : mapping
        By file name, the hash of what the file holds.
    version : str
        Of the program.
    """

    step: str
    options: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    version: str = field(default_factory=lambda: _version())

    def seal(self, path: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write the recipe into a finished file that has not yet its place.

        Nothing is done with a file that has no place for it.
        """
        if can_be_sealed(path):
            content = content_hash(path)
            write_text(path, Provenance(self, content, notes or {}).text)
            remember(path, content)

    def noting(self, notes: Mapping[str, Any]) -> Noted:
        """Return what writes small results into the product as well."""
        return Noted(self, notes)

    def differences(self, other: Recipe) -> list[str]:
        """Say in words how another recipe differs from this one (empty: not at all)."""
        found = []
        if other.step != self.step:
            found.append(f"made by {self.step}, not {other.step}")
        if other.version != self.version:
            found.append(f"version {self.version}, now {other.version}")
        for name in _names(self.options, other.options):
            before, now = self.options.get(name, "not set"), other.options.get(name, "not set")
            if before != now:
                found.append(f"{name} {before}, now {now}")
        for name in _names(self.inputs, other.inputs):
            if name not in other.inputs:
                found.append(f"input {name} taken away")
            elif name not in self.inputs:
                found.append(f"input {name} added")
            elif self.inputs[name] != other.inputs[name]:
                found.append(f"input {name} changed")
        return found


@dataclass(frozen=True)
class Noted:
    """A recipe with small results that a resumed run tells again without computing them."""

    recipe: Recipe
    notes: Mapping[str, Any]

    def seal(self, path: Path) -> None:
        """Write both into a finished file that has not yet its place."""
        self.recipe.seal(path, self.notes)


@dataclass(frozen=True)
class Provenance:
    """What stands in a product.

    Attributes
    ----------
    recipe : Recipe
    content : str
        Hash of what the product holds.
    notes : mapping
        Small results that a resumed run tells again without computing them.
    """

    recipe: Recipe
    content: str
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As it is written into a file: JSON in one line."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Provenance | None:
        """Read it; None if it is damaged."""
        try:
            stored = json.loads(text)
            return cls(Recipe(**stored["recipe"]), str(stored["content"]), stored["notes"])
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Finding:
    """What :func:`judge` says of a product.

    Attributes
    ----------
    path : Path
    state : State
    reasons : tuple of str
        Why it is stale.
    notes : mapping
        Of a product that is done.
    """

    path: Path
    state: State
    reasons: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


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
    except OSError as error:
        return Finding(path, State.CHANGED, (f"cannot be read ({error.strerror})",))
    reasons = stored.recipe.differences(recipe)
    if "hooks" in recipe.options:
        reasons.append("hooks, which may do anything")
    if reasons:
        return Finding(path, State.STALE, tuple(reasons))
    return Finding(path, State.DONE, notes=stored.notes)


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


def survey(folder: str | Path) -> list[Finding]:
    """Say of the products in a folder what they say of themselves, by name.

    A product is stale if it was made by another version, or from a file of this folder that is
    another one now. Inputs that lie elsewhere are not looked at: only their names are known.
    """
    found: dict[str, Finding] = {}
    places = {path.name: path for path in sorted(Path(folder).iterdir()) if path.is_file()}

    def look(name: str) -> Finding:
        if name not in found:
            found[name] = Finding(places[name], State.DONE)  # should it name itself
            found[name] = _by_itself(places[name], places, look)
        return found[name]

    return [look(name) for name, path in places.items() if can_be_sealed(path)]


def _by_itself(path: Path, places: Mapping[str, Path], look: Callable[[str], Finding]) -> Finding:
    stored = read_provenance(path)
    if stored is None:
        return Finding(path, State.FOREIGN)
    now = {name: places[name] for name in stored.recipe.inputs if name in places}
    inputs = {**stored.recipe.inputs, **{name: content_hash(file) for name, file in now.items()}}
    expected = replace(stored.recipe, inputs=inputs, version=_version())
    item = judge(path, expected)
    behind = [name for name in now if look(name).state in (State.STALE, State.CHANGED)]
    if item.state is State.DONE and behind:
        words = tuple(f"{name} is {look(name).state.value}" for name in behind)
        return Finding(path, State.STALE, words)
    return item


def of_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return names and hashes of input files, for a recipe.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    found: dict[str, str] = {}
    for path in map(Path, paths):
        # two files of one name, from two folders
        name = path.name if path.name not in found else f"{path.name} {len(found)}"
        found[name] = content_hash(path)
    return found


def of_options(options: Any, without: Collection[str] = ()) -> dict[str, str]:
    """Return options (a dataclass) as a recipe has them, but for those that change no product."""
    return {
        name: str(value)
        for name, value in dataclasses.asdict(options).items()
        if name not in without
    }


def _names(*mappings: Mapping[str, Any]) -> list[str]:
    return sorted(set().union(*mappings))


def _version() -> str:
    from webbalign import __version__

    return __version__
