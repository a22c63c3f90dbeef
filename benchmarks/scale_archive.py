"""On paper: the whole coronagraphic archive on a cluster, from measured rates.

``python -m benchmarks.scale_archive`` prints the tables of docs/scaling.md; ``--write`` puts them
there; ``--rates FILE`` takes other rates than ``benchmarks/scale_rates.toml``.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- begin scale_archive -->\n", "<!-- end scale_archive -->\n"

WITH_VARIANCES, WITHOUT = 24, 12  # byte of a pixel: SCI, ERR, DQ of 4 each; three variances more
COMBINED = 28  # byte of a pixel of i2d, whose grid is a little larger
I2D_GROWTH = 1.3


@dataclass(frozen=True)
class Way:
    """A way to run the archive.

    Attributes
    ----------
    name : str
    each : bool
        Whether references are aligned to every science integration.
    keeps : bool
        Whether psfalign is written (to the shared file system).
    """

    name: str
    each: bool
    keeps: bool


WAYS = (
    Way("`each`, psfalign saved", each=True, keeps=True),
    Way("`each`, `--align-refs.save-psfalign false`", each=True, keeps=False),
    Way("`first`, psfalign saved", each=False, keeps=True),
)


@dataclass(frozen=True)
class Load:
    """What the archive, or one association of it, takes.

    Attributes
    ----------
    cpu : float
        s on one core.
    longest : float
        s, of the association that takes longest.
    read, written, psfalign : float
        byte; psfalign is part of what is written.
    files_read, files_written : float
    blocks : float
        Tasks, if every association is split.
    """

    cpu: float = 0.0
    longest: float = 0.0
    read: float = 0.0
    written: float = 0.0
    psfalign: float = 0.0
    files_read: float = 0.0
    files_written: float = 0.0
    blocks: float = 0.0

    def plus(self, other: Load, times: float) -> Load:
        """Add `times` associations like `other`."""
        added = {
            name: getattr(self, name) + times * getattr(other, name)
            for name in self.__dataclass_fields__
        }
        return Load(**added | {"longest": max(self.longest, other.longest)})


def one_association(rates: Mapping[str, Any], nints: int, ref_nints: int, way: Way) -> Load:
    """Return the load of one association: integrations of a science and of a psf exposure."""
    archive, cpu = rates["archive"], rates["cpu"]
    n_science, n_psf = archive["science_exposures"], archive["psf_exposures"]
    pixels = archive["pixels"]
    science, references = n_science * nints, n_psf * ref_nints
    pairs = references * (science if way.each else n_science)
    inputs = (science + references) * pixels * WITH_VARIANCES
    psfalign = pairs * pixels * WITHOUT if way.keeps else 0.0
    products = inputs + references * pixels * WITHOUT + science * pixels * WITH_VARIANCES
    products += pixels * I2D_GROWTH * COMBINED + psfalign
    seconds = cpu["start"]["value"] + cpu["integration"]["value"] * (science + references)
    seconds += cpu["pair"]["value"] * pairs if way.each else 0.0
    exposures = n_science + n_psf
    block = rates["scheduler"]["block"]["value"]
    return Load(
        cpu=seconds,
        longest=seconds,
        read=inputs,
        written=products,
        psfalign=psfalign,
        files_read=exposures + 1,
        # crfints of all, psfstack, i2d; psfalign, its table and psfsub of science
        files_written=exposures + 2 + n_science * (3 if way.keeps else 2),
        blocks=exposures + 2 * n_science * -(-nints // block) + 1,
    )


def archive_load(rates: Mapping[str, Any], way: Way) -> Load:
    """Return the load of all associations."""
    load = Load()
    for fraction, nints, ref_nints in rates["archive"]["mix"]:
        count = fraction * rates["archive"]["associations"]
        load = load.plus(one_association(rates, nints, ref_nints, way), count)
    return load


def times(rates: Mapping[str, Any], load: Load) -> dict[str, float]:
    """Return the seconds that each part of the cluster needs for the load."""
    cluster, files, scheduler = rates["cluster"], rates["files"], rates["scheduler"]
    workers = cluster["nodes"] * cluster["cores"]
    operations = load.files_read * files["operations_per_input"]["value"]
    operations += load.files_written * files["operations_per_product"]["value"]
    imports = workers * files["imported"]["value"] * files["operations_per_import"]["value"]
    bandwidth, rate = cluster["shared_bandwidth"], cluster["shared_operations"]
    return {
        "compute": load.cpu / workers,
        "longest association": load.longest,
        "data, read and written": (load.read + load.written) / bandwidth,
        "file operations of the data": operations / rate,
        "file operations of imports": imports / rate,
        "scheduler": rates["archive"]["associations"] * scheduler["task"]["value"],
        "scheduler, associations split": load.blocks * scheduler["task"]["value"],
    }


def wall(parts: Mapping[str, float]) -> float:
    """Return the expected wall time: imports, then the slowest of what goes on at once."""
    together = ("data, read and written", "file operations of the data", "scheduler")
    # while the last association ends, all others are done: its length is added to the mean
    work = parts["compute"] + parts["longest association"]
    return parts["file operations of imports"] + max(work, *(parts[name] for name in together))


def tables(rates: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    loads = {way.name: archive_load(rates, way) for way in WAYS}
    parts = {name: times(rates, load) for name, load in loads.items()}
    heads = ["", *loads]
    rows = [
        ["read, TB", *(f"{load.read / 1e12:.2f}" for load in loads.values())],
        ["written, TB", *(f"{load.written / 1e12:.2f}" for load in loads.values())],
        ["... of it psfalign, TB", *(f"{load.psfalign / 1e12:.2f}" for load in loads.values())],
        ["files read and written, millions",
         *(f"{(load.files_read + load.files_written) / 1e6:.2f}" for load in loads.values())],
        ["tasks: associations", *(f"{rates['archive']['associations']}" for _ in loads)],
        ["tasks: associations split", *(f"{load.blocks:.0f}" for load in loads.values())],
        ["CPU, core hours", *(f"{load.cpu / 3600:.1f}" for load in loads.values())],
    ]  # fmt: skip
    seconds = [
        [f"{name}, s", *(f"{parts[way][name]:.0f}" for way in parts)]
        for name in next(iter(parts.values()))
    ]
    seconds.append(["**expected wall time, s**", *(f"**{wall(parts[way]):.0f}**" for way in parts)])
    seconds.append(["first bottleneck", *(_bottleneck(parts[way]) for way in parts)])
    return "\n".join(
        [*_table(heads, rows), "", *_table(heads, seconds), "", *_table(
            ["rate", "value", "from", "to be measured again"], list(_rates(rates))
        ), ""]
    )  # fmt: skip


def _bottleneck(parts: Mapping[str, float]) -> str:
    known = {name: value for name, value in parts.items() if "split" not in name}
    return max(known, key=lambda name: known[name])


def _rates(rates: Mapping[str, Any]) -> Any:
    for section, values in rates.items():
        for name, entry in values.items():
            if isinstance(entry, dict):
                again = "yes" if entry["again"] else "no"
                yield [f"{section}: {name.replace('_', ' ')}", f"{entry['value']:g}",
                       entry["source"], again]  # fmt: skip


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rates", type=Path, default=HERE / "scale_rates.toml")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    chosen = parser.parse_args()
    text = tables(tomllib.loads(chosen.rates.read_text()))
    if not chosen.write:
        print(text)
        return 0
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
