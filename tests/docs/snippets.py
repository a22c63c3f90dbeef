"""The commands and Python snippets of README and docs, in the order in which they stand."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(
            p
            for p in (ROOT / "docs").rglob("*.md")
            if not {"_generated", "_build", "_gallery"} & {*p.parts}
        ),
    ]
)
# fences that hold what a shell or Python is told; others hold output, tables, files
_SHELL = ("sh", "bash", "console")
_COMMAND = re.compile(r"^(\$ |webbalign |make |strun |pip |dask|srun |python |\. )")


@dataclass(frozen=True)
class Snippet:
    """Lines of one command, or of one piece of Python.

    Attributes
    ----------
    page : str
        Relative to the repository.
    line : int
        Where it begins, from 1.
    language : str
        ``shell``, ``python``, or ``file``: a file whose first line is a comment with its name.
    text : str
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    name = str(page.relative_to(ROOT))
    found: list[Snippet] = []
    for first, language, lines in _blocks(page.read_text().splitlines()):
        if lines and re.fullmatch(r"# \S+\.(txt|toml|json)", lines[0]):
            found.append(Snippet(name, first, "file", "\n".join(lines)))
        elif language == "python":
            found.append(Snippet(name, first, "python", "\n".join(lines)))
        elif language in _SHELL or any(_COMMAND.match(line) for line in lines):
            found += _commands(name, first, lines, every=language in _SHELL)
    return found


def _blocks(lines):
    """Yield (line, language, lines) of fenced and indented blocks."""
    k, blank = 0, True
    while k < len(lines):
        if match := re.match(r"^(`{3,}|:{3,})\s*(\{.*\})?\s*(\w*)", lines[k]):
            end = next(
                (j for j in range(k + 1, len(lines)) if lines[j].strip() == match[1]), len(lines)
            )
            if not match[2]:
                yield k + 2, match[3] or "text", lines[k + 1 : end]
            k = end + 1
            blank = True
        elif blank and lines[k].startswith("    "):
            end = k
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            block = [line[4:] for line in lines[k:end]]
            python = any(re.match(r"(from|import) ", line) for line in block)
            yield k + 1, "python" if python else "indented", block
            k = end
        else:
            blank = not lines[k].strip()
            k += 1


def _commands(name, first, lines, *, every):
    found, text, start = [], "", 0
    for k, line in enumerate(lines):
        command = text or every or _COMMAND.match(line)
        if not command or not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start if text else first + k
        text += line.removeprefix("$ ")
        if text.endswith("\\"):
            text = text[:-1]
            continue
        # some lines hold two commands side by side, each with its comment
        parts = re.split(r" {2,}(?=make )", text)
        found += [Snippet(name, start, "shell", part.strip()) for part in parts]
        text = ""
    return found


def inline_commands(page: Path) -> list[tuple[str, str]]:
    """(place, text) of the commands that stand within the prose."""
    name = str(page.relative_to(ROOT))
    found = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        for text in re.findall(r"`(webbalign [^`]*)`", line):
            found.append((f"{name}:{number}", text.replace("\\|", "|")))
    return found
