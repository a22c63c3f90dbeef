"""What a product was made from, in the form in which it stands in the product."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from webbalign.products._sealed_files import can_be_sealed, write_text
from webbalign.products.content import content_hash, remember

__all__ = ["Finding", "Noted", "Provenance", "Recipe", "State", "of_inputs", "of_options"]


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

    def seal(
        self,
        path: Path,
        notes: Mapping[str, Any] | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> None:
        """Write the recipe into a finished file that has not yet its place.

        Nothing is done with a file that has no place for it.
        """
        if can_be_sealed(path):
            content = content_hash(path)
            write_text(path, Provenance(self, content, notes or {}, beside or {}).text)
            remember(path, content)

    def noting(self, notes: Mapping[str, Any], *beside: Path) -> Noted:
        """Return what writes small results into the product as well.

        `beside` are finished files of its folder without which the product is not whole.
        """
        return Noted(self, notes, beside)

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
                found.append(f"{name} {before or 'empty'}, now {now or 'empty'}")
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
    beside: tuple[Path, ...] = ()

    def seal(self, path: Path) -> None:
        """Write both into a finished file that has not yet its place."""
        self.recipe.seal(path, self.notes, of_inputs(self.beside))


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
    beside : mapping
        By name, the hash of each file of the same folder that belongs to the product.
    """

    recipe: Recipe
    content: str
    notes: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As it is written into a file: JSON in one line."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Provenance | None:
        """Read it; None if it is damaged."""
        try:
            stored = json.loads(text)
            recipe, beside = Recipe(**stored["recipe"]), stored.get("beside", {})
            return cls(recipe, str(stored["content"]), stored["notes"], beside)
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
