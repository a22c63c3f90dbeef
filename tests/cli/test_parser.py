"""Reading a command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.cli.commands import terminal_flags
from webbalign.cli.errors import UsageError
from webbalign.cli.flags import flags_of
from webbalign.cli.parser import first_positional, parse
from webbalign.core.options import Options, opt


@dataclass(frozen=True)
class Sample(Options):
    """One option of every kind."""

    save_all: bool = opt(False, "Save everything.")
    clean: bool = opt(True, "Clean up.")
    box_length: int = opt(3, "Length of the box in pixels.", min=1)
    scale: float | None = opt(None, "Scale in arcsec.")
    kind: str = opt("each", "Which kind.", choices=("each", "first"))
    shape: tuple[int, ...] | None = opt(None, "Size x, y in pixels.", length=2)
    crval: tuple[float, ...] | None = opt(None, "Position in degrees.", length=2)
    names: tuple[str, ...] = opt((), "Some names.")
    pre_hooks: tuple[str, ...] = opt((), "Hooks.")


FLAGS = [*flags_of(Sample, "Sample"), *flags_of(Sample, "Step", step="align_refs")]


def values(*words):
    return {".".join(target): value for target, value in parse(words, FLAGS).values.items()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--save-all", {"save_all": True}),
        ("--no-save-all", {"save_all": False}),
        ("--save-all=false", {"save_all": False}),
        ("--save-all true", {"save_all": True}),
        ("--clean false", {"clean": False}),
        ("--no-clean", {"clean": False}),
        ("--box-length 5", {"box_length": 5}),
        ("--box-length=5", {"box_length": 5}),
        ("--box-length 5 --box-length 7", {"box_length": 7}),
        ("--scale -0.5", {"scale": -0.5}),
        ("--scale none", {"scale": None}),
        ("--scale 1e-3", {"scale": 0.001}),
        ("--kind first", {"kind": "first"}),
        ("--shape 300,200", {"shape": (300, 200)}),
        ("--shape 300 --shape 200", {"shape": (300, 200)}),
        ("--shape None", {"shape": None}),
        ("--crval -5.2,3", {"crval": (-5.2, 3.0)}),
        ("--crval=-5.2,-3", {"crval": (-5.2, -3.0)}),
        ("--names a --names b,c", {"names": ("a", "b", "c")}),
        ("--pre-hooks f(a=1,b=2) --pre-hooks g", {"pre_hooks": ("f(a=1,b=2)", "g")}),
        ("--align-refs.kind first", {"align_refs.kind": "first"}),
        ("--no-align-refs.clean", {"align_refs.clean": False}),
        ("--align-refs.save-all", {"align_refs.save_all": True}),
        ("", {}),
    ],
)
def test_values(words, expected):
    assert values(*words.split()) == expected


def test_options_stand_anywhere_among_the_positionals():
    parsed = parse(["a.fits", "--save-all", "b.fits", "--box-length", "5", "c.fits"], FLAGS)
    assert parsed.positionals == ["a.fits", "b.fits", "c.fits"]
    assert parsed.values == {("save_all",): True, ("box_length",): 5}


@pytest.mark.parametrize("word", ["TRUE", "True", "yes", "0", "truth", "x.fits", "false.fits"])
def test_a_boolean_takes_only_true_or_false(word):
    parsed = parse(["--save-all", word], FLAGS)
    assert parsed.positionals == [word]
    assert parsed.values == {("save_all",): True}


def test_a_negated_boolean_takes_no_word():
    assert parse(["--no-save-all", "true"], FLAGS).positionals == ["true"]


def test_after_two_dashes_all_are_positionals():
    assert parse(["--", "--save-all", "-x"], FLAGS).positionals == ["--save-all", "-x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bx-length 3", "unknown option --bx-length - did you mean --box-length?"),
        ("--box_length 3", "did you mean --box-length?"),
        ("--align_refs.kind first", "did you mean --align-refs.kind?"),
        ("--steps.align_refs.kind=first", "did you mean --align-refs.kind?"),
        ("--no-save-al", "did you mean --no-save-all?"),
        ("--zzzz", "unknown option --zzzz"),
        ("-x", "unknown option -x"),
        ("--no-box-length", "unknown option --no-box-length"),
        ("--no-save-all=true", "--no-save-all is given a value - leave it out"),
        ("--box-length", "--box-length has no value - give INT"),
        ("--box-length --save-all", "--box-length has no value - give INT"),
        ("--box-length 0", "--box-length is 0 - give an integer (>= 1)"),
        ("--box-length 2.5", "--box-length is '2.5' - give an integer"),
        ("--align-refs.kind mean", "--align-refs.kind is 'mean' - give each | first"),
        ("--shape 3", "--shape is"),
        ("--save-all=maybe", "--save-all is 'maybe' - give true or false"),
        ("--scale nonsense", "--scale is 'nonsense' - give a number"),
    ],
)
def test_what_cannot_be_understood_is_named(words, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(words.split(), FLAGS)


@given(
    st.lists(st.sampled_from(["--save-all", "--no-clean", "--box-length=4"]), max_size=3),
    st.lists(st.sampled_from(["a.fits", "b.json", "c"]), max_size=4),
    st.randoms(),
)
def test_the_order_of_options_and_positionals_does_not_matter(options, positionals, random):
    words = [*options, *positionals]
    places = sorted(random.sample(range(len(words)), len(positionals)))
    mixed = list(options)
    for place, word in zip(places, positionals, strict=True):
        mixed.insert(place, word)
    assert parse(mixed, FLAGS) == parse(words, FLAGS)


def test_the_first_positional_is_not_the_value_of_an_option():
    flags = terminal_flags()
    assert first_positional(["--log-file", "klip", "coron3"], flags) == 2
    assert first_positional(["--quiet", "coron3"], flags) == 1
    assert first_positional(["--quiet", "true", "coron3"], flags) == 2
    assert first_positional(["--quiet"], flags) is None
