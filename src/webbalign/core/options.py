"""An option is declared once: type, default, help, and what is allowed.

An algorithm is a frozen dataclass of its options::

    @dataclass(frozen=True)
    class Klip(Options):
        truncate: int = opt(50, "Number of Karhunen-Loeve modes to keep.", min=0)

From that declaration follow the validation (on construction), the stpipe ``spec`` string
(:func:`spec`), the command-line flags and the tables of the documentation (:func:`declared`).
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from webbalign.core.errors import OptionError

__all__ = ["Option", "Options", "declared", "did_you_mean", "opt", "spec"]


@dataclasses.dataclass(frozen=True)
class Option:
    """One declared option, as the command line and the documentation need it.

    Attributes
    ----------
    name, default, doc
        As declared; the name has underscores.
    kind : type
        One of ``bool``, ``int``, ``float``, ``str``; the type of the items for a sequence.
    optional : bool
        Whether ``None`` is allowed.
    length : int or None
        Number of items of a sequence (0: any number); None for a scalar.
    choices, min, max
        The allowed values; None where there is no limit.
    """

    name: str
    default: Any
    doc: str
    kind: type
    optional: bool = False
    length: int | None = None
    choices: tuple[Any, ...] | None = None
    min: float | None = None
    max: float | None = None

    @property
    def allowed(self) -> str:
        """The allowed values in words (empty: any value of the type)."""
        if self.choices is not None:
            return " | ".join(map(str, self.choices))
        low = "" if self.min is None else f">= {self.min}"
        high = "" if self.max is None else f"<= {self.max}"
        limits = ", ".join(filter(None, (low, high)))
        if self.length is None:
            return limits
        count = f"{self.length} values" if self.length else "a list"
        return f"{count}, each {limits}" if limits else count

    def check(self, value: Any) -> Any:
        """Return `value` in the declared type.

        Raises
        ------
        OptionError
            If the value is not allowed; the message names the option.
        """
        # a command line and a parameter file can only write the word
        word = isinstance(value, str) and value.strip().lower() == "none"
        if value is None or (word and self.optional and self.choices is None):
            if self.optional:
                return None
            raise self._refuse(value)
        if self.length is None:
            return self._check_item(value)
        if isinstance(value, str):
            value = [item for item in value.replace(",", " ").split() if item]
        try:
            items = tuple(self._check_item(item) for item in value)
        except TypeError:
            raise self._refuse(value) from None
        if self.length and len(items) != self.length:
            raise self._refuse(value)
        return items

    def _check_item(self, value: Any) -> Any:
        value = self._convert(value)
        if self.choices is not None and value not in self.choices:
            raise self._refuse(value)
        # "not (a <= b)" so that NaN is refused as well
        if self.min is not None and not value >= self.min:
            raise self._refuse(value)
        if self.max is not None and not value <= self.max:
            raise self._refuse(value)
        return value

    def _convert(self, value: Any) -> Any:
        if self.kind is bool:
            words = {"true": True, "false": False}
            value = words.get(value.lower(), value) if isinstance(value, str) else value
            if value not in (True, False):
                raise self._refuse(value)
            return bool(value)
        if isinstance(value, bool) and self.kind is not str:
            raise self._refuse(value)
        try:
            converted = self.kind(value)
        except (TypeError, ValueError):
            raise self._refuse(value) from None
        if self.kind is int and not isinstance(value, str) and converted != value:
            raise self._refuse(value)
        return converted

    def _refuse(self, value: Any) -> OptionError:
        want = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
        allowed = f" ({self.allowed})" if self.allowed else ""
        expected = f"{want[self.kind]}{allowed}"
        if self.choices is not None and self.length is None:
            expected = self.allowed
        return OptionError(f"option {self.name!r} is {value!r} - give {expected}")


def did_you_mean(word: str, known: Iterable[str]) -> list[str]:
    """Return the known word nearest to `word`, if one is near."""
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)


def opt(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] | None = None,
    min: float | None = None,
    max: float | None = None,
    length: int | None = None,
) -> Any:
    """Declare an option (a dataclass field) with its default, help and limits.

    Parameters
    ----------
    default : object
        The value when the user says nothing.
    doc : str
        Help in one or two sentences, with the unit.
    choices : tuple, optional
        The allowed values.
    min, max : float, optional
        Inclusive limits.
    length : int, optional
        For sequences (declared as ``tuple[...]``): the number of items, 0 for any.
    """
    return dataclasses.field(
        default=default,
        metadata={"doc": doc, "choices": choices, "min": min, "max": max, "length": length},
    )


class Options:
    """Base of the frozen dataclasses that hold the options of one algorithm."""

    def __post_init__(self) -> None:
        for option in declared(type(self)):
            # frozen dataclass: the checked value has to be set behind its back
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping; keys that are no options of this algorithm are ignored."""
        names = {option.name for option in declared(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


def declared(algorithm: type[Options]) -> Iterator[Option]:
    """Yield the options of an algorithm in the order of their declaration."""
    hints = typing.get_type_hints(algorithm)
    for field in dataclasses.fields(algorithm):  # type: ignore[arg-type]
        kind, optional, sequence = _resolve(hints[field.name])
        length = field.metadata["length"]
        if sequence and length is None:
            length = 0
        yield Option(
            name=field.name,
            default=field.default,
            doc=field.metadata["doc"],
            kind=kind,
            optional=optional,
            length=length if sequence else None,
            choices=field.metadata["choices"],
            min=field.metadata["min"],
            max=field.metadata["max"],
        )


def _resolve(hint: Any) -> tuple[type, bool, bool]:
    """Split a type hint into (item type, may be None, is a sequence)."""
    optional = False
    if isinstance(hint, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = len(members) < len(typing.get_args(hint))
        (hint,) = members
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], optional, True
    return hint, optional, False


def spec(algorithm: type[Options]) -> str:
    """Return the configobj specification that stpipe reads, one line per option."""
    return "\n".join(_spec_line(option) for option in declared(algorithm))


def _spec_line(option: Option) -> str:
    arguments = [f"default={_spec_value(option.default)}"]
    if option.choices is not None and option.length is None and option.kind is str:
        name = "option"
        arguments = [*(repr(str(choice)) for choice in option.choices), *arguments]
    elif option.length is not None:
        name = {int: "int_list", float: "float_list", str: "force_list"}[option.kind]
        if option.length:
            arguments += [f"min={option.length}", f"max={option.length}"]
    elif (option.optional and option.default is not None and option.kind is not str) or (
        option.choices is not None
    ):
        # configobj's numbers cannot be None, and it chooses between texts only: numbers and texts
        # pass, and are checked when the options are made
        name, arguments = "pass", [f"default='{option.default}'"]
    else:
        name = {bool: "boolean", int: "integer", float: "float", str: "string"}[option.kind]
        arguments += [
            f"{limit}={value}"
            for limit, value in (("min", option.min), ("max", option.max))
            if value is not None
        ]
    # configobj takes the last bracket of the line for the end of the check
    doc = option.doc.translate(str.maketrans("()#", "[] "))
    return f"{option.name} = {name}({', '.join(arguments)})  # {doc}"


def _spec_value(value: Any) -> str:
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, tuple):
        return f"list({', '.join(_spec_value(item) for item in value)})"
    return str(value)
