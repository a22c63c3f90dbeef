import importlib.util
import sys
from pathlib import Path

import pytest

from webbalign.cli.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The generated tables, by name."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate_options.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    module.FOLDER = tmp_path_factory.mktemp("tables")
    module.main()
    return {path.stem: path.read_text() for path in module.FOLDER.iterdir()}


def cells(table):
    return [[c.strip() for c in line[1:-2].split(" | ")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    "table, option, values",
    [
        ("options_tweakreg", "--catfile", "file"),
        ("options_tweakreg", "--abs-refcat", "name or file"),
        ("options_coron3", "--output-dir", "folder"),
        ("options_coron3", "--config-file", "file"),
        ("options_execution", "--memory", "size"),
        ("options_klip", "--truncate", r"\>= 0"),
        ("options_tweakreg", "--starfinder", r"iraf \| dao \| segmentation"),
    ],
)
def test_tables_say_what_a_value_is(tables, table, option, values):
    (line,) = [line for line in tables[table].splitlines() if line.startswith(f"| `{option}` |")]
    assert f"` | {values} | " in line


def test_each_option_stands_once_and_as_a_flag(tables):
    for command in COMMANDS.values():
        name = f"options_{command.name.replace(' ', '_')}"
        if name not in tables or command.name == "coron3":
            continue
        found = [row[0].strip("`") for row in cells(tables[name])]
        assert len(set(found)) == len(found)
        assert set(found) <= {f"--{flag.name}" for flag in command.flags()}


def test_tables_have_as_many_cells_as_heads(tables):
    for name, table in tables.items():
        head, *lines = table.splitlines()
        if not head.startswith("|"):
            continue
        columns = head.count("|")
        for line in lines:
            assert line.replace(r"\|", "").count("|") == columns, (name, line)
