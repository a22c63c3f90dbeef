"""What surrounds the code: locks, metadata, pages of the documentation."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from webbalign.cli.commands import STEPS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "lock.txt": PROJECT["dependencies"],
    "dev.txt": [
        *PROJECT["dependencies"],
        *(item for extra in PROJECT["optional-dependencies"].values() for item in extra),
    ],
}


def pins(name):
    text = (ROOT / "requirements" / name).read_text()
    blocks = re.findall(
        r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M
    )
    return {canonicalize_name(package): version for package, version, _ in blocks}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_a_pin_with_hashes_and_names_no_host(name):
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    content = [line for line in lines if line and not line.lstrip().startswith("#")]
    starts = [line for line in content if not line.startswith("    --hash=sha256:")]
    assert len(starts) == len(pins(name)) > 20
    assert not [line for line in lines if "://" in line or "file:/" in line]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_every_declared_dependency(name):
    locked = pins(name)
    for text in LOCKS[name]:
        requirement = Requirement(text)
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_locks_agree():
    assert pins("lock.txt").items() <= pins("dev.txt").items()


def test_the_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in text


def test_the_steps_are_registered():
    (entry,) = entry_points(group="stpipe.steps", name="webbalign")
    names = [name.rpartition(".")[2] for name, _, _ in entry.load()()]
    assert {step.class_name for step in STEPS.values()} | {"Coron3Pipeline"} <= set(names)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_a_page_with_its_generated_options(name):
    # a step with many options has them on a page of its own
    pages = (ROOT / "docs" / "steps").glob(f"{name}*.md")
    page = "".join(file.read_text() for file in pages)
    assert f"../_generated/options_{name}.md" in page
    assert f"steps/{name}" in (ROOT / "docs" / "index.md").read_text()


def test_no_command_of_the_readme_is_missing():
    from webbalign.cli.commands import COMMANDS

    text = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert command in text
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^ {4}|`| {2,})make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
