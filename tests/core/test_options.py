from dataclasses import FrozenInstanceError, dataclass

import pytest
from configobj import ConfigObj
from configobj.validate import Validator
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.errors import OptionError
from webbalign.core.options import Options, declared, opt, spec


@dataclass(frozen=True)
class Example(Options):
    truncate: int = opt(50, "Number of modes (at most).", min=0)
    pixfrac: float = opt(1.0, "Fraction # of a pixel.", min=0, max=1)
    kernel: str = opt("square", "Shape.", choices=("square", "point"))
    shape: tuple[int, ...] | None = opt(None, "Size (x, y) in px.", length=2, min=1)
    rotation: float | None = opt(0.0, "Angle, or None.")
    names: tuple[str, ...] = opt((), "Names.")
    save: bool = opt(False, "Save it.")


def test_values_are_converted_to_their_declared_types():
    example = Example(truncate="7", pixfrac="0.5", shape="3, 4", save="true", names="a,b")
    assert example == Example(7, 0.5, "square", (3, 4), 0.0, ("a", "b"), True)
    assert Example(rotation="None").rotation is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("truncate", -1), ("truncate", 1.5), ("truncate", "x"), ("truncate", None),
        ("truncate", True), ("pixfrac", 1.01), ("pixfrac", float("nan")), ("kernel", "round"),
        ("shape", (1,)), ("shape", (0, 1)), ("save", "maybe"), ("shape", 3),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_is_refused_by_name(name, value):
    with pytest.raises(OptionError, match=f"'{name}'"):
        Example(**{name: value})


def test_options_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Example().truncate = 3


def test_declarations_tell_what_is_allowed():
    allowed = {option.name: option.allowed for option in declared(Example)}
    assert allowed["pixfrac"] == ">= 0, <= 1"
    assert allowed["kernel"] == "square | point"
    assert allowed["shape"] == "2 values, each >= 1"
    assert allowed["save"] == ""


def validated(**values):
    config = ConfigObj(values, configspec=spec(Example).splitlines(), list_values=True)
    config.validate(Validator())
    return Example.from_mapping(config)


def test_the_specification_has_the_same_defaults():
    assert validated() == Example()


def test_the_specification_accepts_what_a_parameter_file_holds():
    assert validated(truncate="9", shape=["3", "4"], rotation="None").shape == (3, 4)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_allowed_values_survive(truncate, pixfrac):
    example = Example(truncate=truncate, pixfrac=pixfrac)
    assert Example.from_mapping(vars(example) | {"unknown": 1}) == example
