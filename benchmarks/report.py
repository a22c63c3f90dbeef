"""RESULTS.md: one section per script, replaced in place, and a summary made from all of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(os.environ.get("WEBBALIGN_BENCH_RESULTS", ROOT / "benchmarks" / "RESULTS.md"))
LIBRARIES = ("webbalign", "numpy", "scipy", "astropy", "stdatamodels", "stpipe", "gwcs", "drizzle")
HEADING = """# Results

Written by the scripts of this folder (`python -m benchmarks`); each section is what one of them
measured last, whether the criterion is met or not. See `README.md` here for what they need.
"""
_BROKEN = "**This script broke off**"
WORDS = {True: "met", False: "**NOT MET**", None: "-"}


@dataclass
class Report:
    """One section of RESULTS.md.

    Attributes
    ----------
    number : int or str
        Of the criterion.
    name, title : str
        Of the script; of the section.
    """

    number: int | str
    name: str
    title: str
    checks: list[tuple[str, str, str, bool | None]] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def below(
        self, what: str, value: float, limit: float, form: str = ".3g", unit: str = ""
    ) -> bool:
        """Check that a value is at most `limit` (NaN is not)."""
        return self._check(what, f"{value:{form}}{unit}", f"<= {limit:g}{unit}", value <= limit)

    def above(
        self, what: str, value: float, limit: float, form: str = ".3g", unit: str = ""
    ) -> bool:
        """Check that a value is at least `limit` (NaN is not)."""
        return self._check(what, f"{value:{form}}{unit}", f">= {limit:g}{unit}", value >= limit)

    def within(self, what: str, values: Iterable[float], low: float, high: float) -> bool:
        """Check that all values lie between two limits; their range is reported."""
        values = [float(value) for value in values]
        met = bool(values) and all(low <= value <= high for value in values)
        found = f"{min(values):.3f} to {max(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"
        return self._check(what, found, f"{low:g} to {high:g}", met)

    def true(self, what: str, met: bool, measured: str, wanted: str) -> bool:
        """Record something that holds or does not."""
        return self._check(what, measured, wanted, met)

    def number_only(self, what: str, measured: str) -> None:
        """Record a measurement that has no criterion."""
        self._check(what, measured, "", None)

    def _check(self, what: str, measured: str, wanted: str, met: bool | None) -> bool:
        met = None if met is None else bool(met)
        self.checks.append((what, measured, wanted, met))
        print(f"  {WORDS[met]:12s} {what}: {measured}  ({wanted or 'reported'})", flush=True)
        return bool(met)

    def note(self, text: str) -> None:
        """Add a paragraph below the table."""
        self.body.append(text)
        print(f"  {text}", flush=True)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table below the first one."""
        lines = [_row(heads), _row(["---"] * len(heads)), *(_row(row) for row in rows)]
        self.body.append("\n".join(lines))
        print("\n".join(f"  {line}" for line in lines), flush=True)

    def skip(self, what: str, why: str) -> None:
        """Record what could not be measured here."""
        self.skipped.append(f"{what}: not measured, {why}.")
        print(f"  skipped      {what}: {why}", flush=True)

    def write(self, extra_versions: str = "") -> bool:
        """Put the section into RESULTS.md; returns whether every criterion in it is met."""
        sections = _sections()
        sections[self.name] = self._text(extra_versions)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(_assemble(sections))
        return all(met is not False for *_, met in self.checks)

    def _text(self, extra_versions: str) -> str:
        versions = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
        if extra_versions:
            versions += f"; compared with {extra_versions}"
        arguments = " ".join(sys.argv[1:]) if _is_script(self.name) else ""
        command = f"python -m benchmarks.{self.name} {arguments}".strip()
        lines = [
            f"## {self.number}. {self.title}",
            f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, load {self.load:.1f} at the"
            f" start; {versions}.",
            "\n".join(
                [
                    _row(["measured", "value", "criterion", "result"]),
                    _row(["---"] * 4),
                    *(
                        _row([what, got, wanted, WORDS[met]])
                        for what, got, wanted, met in self.checks
                    ),
                ]
            ),
            *self.skipped,
            *self.body,
        ]
        return "\n\n".join(lines)


def mark_broken(name: str) -> None:
    """Note in RESULTS.md that a script broke off: what its section says is of the run before."""
    sections = _sections()
    heading, _, rest = sections.get(name, f"## {name}").partition("\n")
    former = rest.strip()
    if former.startswith(_BROKEN):
        former = former.partition("\n")[2].strip()
    said = f"{_BROKEN} on {datetime.now(UTC):%Y-%m-%d}; what follows is of the run before."
    sections[name] = "\n\n".join([heading, said, former]).strip()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(_assemble(sections))


def machine() -> str:
    """Describe the machine in neutral words."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores, Python {python}"


def _is_script(name: str) -> bool:
    return Path(sys.argv[0]).stem == name


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "?"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _sections() -> dict[str, str]:
    """Read the sections that are there."""
    if not RESULTS.is_file():
        return {}
    pattern = re.compile(r"<!-- begin (\w+) -->\n(.*?)\n<!-- end \1 -->", re.DOTALL)
    return dict(pattern.findall(RESULTS.read_text()))


def _assemble(sections: dict[str, str]) -> str:
    ordered = sorted(sections.items(), key=lambda item: item[1])
    rows = [_row(["criterion", "met", "not met", "not measured"]), _row(["---"] * 4)]
    for name, text in ordered:
        title = text.splitlines()[0].removeprefix("## ")
        met, failed = text.count("| met |"), text.count(f"| {WORDS[False]} |")
        skipped = "broke off" if _BROKEN in text else text.count(": not measured, ")
        rows.append(_row([f"{title} ([{name}.py]({name}.py))", met, failed, skipped]))
    parts = [HEADING.strip(), "\n".join(rows)]
    parts += [f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->" for name, text in ordered]
    return "\n\n".join(parts) + "\n"
