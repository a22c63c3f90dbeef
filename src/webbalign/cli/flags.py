"""Flags: the command-line form of the options, made from their one declaration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from webbalign.core.errors import OptionError
from webbalign.core.options import Option, Options, declared

__all__ = ["Flag", "flags_of"]

_NAMES = {
    "memory": "SIZE", "dask": "ADDRESS", "dask_tls_ca": "FILE", "dask_tls_cert": "FILE",
    "dask_tls_key": "FILE", "abs_refcat": "NAME|FILE", "alignment_catalog": "NAME|FILE",
    "override_psfmask": "FILE|derived",
}  # fmt: skip
_FILES = ("catfile", "from_image", "like", "output", "output_wcs", "save", "save_parameters")
_KIND_NAMES = {bool: "true|false", int: "INT", float: "FLOAT", str: "TEXT"}
# what the value is, in the tables of the documentation
_WORDS = {
    "FILE": "file", "DIR": "folder", "SIZE": "size", "ADDRESS": "address", "HOOK": "list of hooks",
    "NAME|FILE": "name or file", "FILE|derived": "file, or `derived`",
}  # fmt: skip


@dataclass(frozen=True)
class Flag:
    """One flag of a command.

    Attributes
    ----------
    name : str
        As written after the two dashes, e.g. ``klip.truncate``, ``align-refs.align-to``.
    target : tuple of str
        Where the value belongs: ``("truncate",)``, or ``("klip", "truncate")`` for a step of a
        pipeline.
    option : Option
        The declaration it comes from.
    section : str
        Heading of the help under which it stands.
    metavar : str
        What the help calls the value.
    commas : bool
        Whether the items of a list may also be written with commas.
    """

    name: str
    target: tuple[str, ...]
    option: Option
    section: str
    metavar: str
    commas: bool = True

    @property
    def is_boolean(self) -> bool:
        """Whether the flag may stand without a value."""
        return self.option.kind is bool and self.option.length is None

    @property
    def is_list(self) -> bool:
        """Whether the flag may be repeated, each time adding to the value."""
        return self.option.length is not None

    def value(self, words: list[str]) -> Any:
        """Return the checked value of the words that were written for this flag.

        Raises
        ------
        OptionError
            If the value is not allowed; the message names the flag.
        """
        try:
            if self._is_none(words[-1]):
                return None
            if not self.is_list:
                return self.option.check(words[-1])
            if not self.commas:
                return self.option.check(words)
            items = [item for word in words for item in word.replace(",", " ").split()]
            return self.option.check(items)
        except OptionError as error:
            text = str(error).replace(f"option {self.option.name!r}", f"--{self.name}", 1)
            if self.is_list and len(words) == 1:
                text = text.replace(repr(words), repr(words[0]))
            raise OptionError(text) from None

    def _is_none(self, word: str) -> bool:
        named = word.lower() == "none" and "none" not in (self.option.choices or ())
        return named and self.option.optional

    def facts(self) -> str:
        """Return default and allowed values in words."""
        option = self.option
        parts = [f"default: {self.default_text()}"]
        if option.choices is not None and self.is_list:
            parts.append("from " + " | ".join(map(str, option.choices)))
        elif option.choices is None and option.allowed and option.length != 0:
            parts.append(option.allowed)
        if option.length == 0:
            parts.append("a list: repeat it, or use commas" if self.commas else "may be repeated")
        return "; ".join(parts)

    def default_text(self) -> str:
        """Return the default as it would be written on the command line."""
        return self.text(self.option.default)

    def text(self, value: Any) -> str:
        """Return a value as it would be written on the command line."""
        return _text(value)

    def type_text(self) -> str:
        """Return the type of the value in words."""
        kinds = {bool: "true or false", int: "integer", float: "number", str: "text"}
        return _WORDS.get(self.metavar, kinds[self.option.kind])

    def synopsis(self) -> str:
        """Return the flag as it may be written."""
        if self.is_boolean:
            return f"--{self.name}, --no-{self.name}"
        return f"--{self.name} {self.metavar}"


def flags_of(
    options: type[Options],
    section: str,
    *,
    step: str | None = None,
    only: Iterable[str] | None = None,
) -> list[Flag]:
    """Make the flags of a class of options.

    Parameters
    ----------
    options : type of Options
        The declaration.
    section : str
        Heading of the help.
    step : str, optional
        Name (with underscores) of the step of a pipeline to which the options belong; the flags
        are then ``--step.option``.
    only : iterable of str, optional
        Take only these options.
    """
    chosen = None if only is None else set(only)
    flags = []
    for option in declared(options):
        if chosen is not None and option.name not in chosen:
            continue
        flag = Flag(
            name=option.name.replace("_", "-"),
            target=(option.name,),
            option=option,
            section=section,
            metavar=_metavar(option),
            # a hook is a call with arguments, so its commas are its own
            commas=not option.name.endswith("_hooks"),
        )
        if step is not None:
            name = f"{step.replace('_', '-')}.{flag.name}"
            flag = replace(flag, name=name, target=(step, option.name))
        flags.append(flag)
    return flags


def _metavar(option: Option) -> str:
    if option.choices is not None and option.length is None:
        return "|".join(map(str, option.choices))
    for ending, name in (("_file", "FILE"), ("_dir", "DIR"), ("_hooks", "HOOK")):
        if option.name.endswith(ending) and option.kind is str:
            return name
    if option.name in _FILES:
        return "FILE"
    if option.name in _NAMES:
        return _NAMES[option.name]
    return ",".join([_KIND_NAMES[option.kind]] * (option.length or 1))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(_text(item) for item in value) or "empty"
    return repr(value) if value == "" or (isinstance(value, str) and " " in value) else str(value)
