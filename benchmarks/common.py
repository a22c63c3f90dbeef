"""What the benchmarks share: folders, simulated sets, masks, and runs of both programs."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
for _name in THREADS:  # before numpy is imported: one thread each, here and in what is started
    os.environ[_name] = "1"
for _name in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):  # nothing from outside
    os.environ.pop(_name, None)
# modules are compiled when they are installed; those of a checkout in the first run
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
DATA = Path(os.environ.get("WEBBALIGN_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("WEBBALIGN_BENCH_WORK", FOLDER / ".work"))
JWST_PYTHON = Path(os.environ.get("WEBBALIGN_JWST_PYTHON", FOLDER / ".oracle" / "bin" / "python"))
NO_JWST = (
    "there is no jwst that runs (python -m venv benchmarks/.oracle && "
    "benchmarks/.oracle/bin/pip install jwst==3.0.0, or set WEBBALIGN_JWST_PYTHON)"
)
NO_DATA = "the real exposures are absent (set WEBBALIGN_DATA to the folder that holds them)"
AU_MIC = "winnie_aumic_f356w"


@dataclass(frozen=True)
class Sequence_:
    """A simulated sequence on disk, with a mask for its alignment."""

    folder: Path
    association: Path
    mask: Path
    truth: dict[str, Any]

    @property
    def science(self) -> list[dict[str, Any]]:
        """What the truth says about the science exposures."""
        return [item for item in self.truth["exposures"] if not item["is_psf"]]


def arguments(description: str | None, **flags: Any) -> argparse.Namespace:
    """Read the command line; flags are ``name=(default, help)``."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="less of everything, to try it out")
    for name, (default, text) in flags.items():
        kind = type(default)
        dashes = "-" if len(name) == 1 else "--"
        parser.add_argument(f"{dashes}{name}", type=kind, default=default, help=text)
    return parser.parse_args()


def simulated(**options: Any) -> Sequence_:
    """Return the sequence simulated with these options, made at most once per simulator."""
    from webbalign.products.references import make_psfmask
    from webbalign.simulate import CoronSimulation, simulate_coron3

    chosen = CoronSimulation(**options)
    key = repr(sorted(dataclasses.asdict(chosen).items())) + _sources("simulate")
    folder = WORK / "sets" / f"{chosen.instrument}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    done = folder / "done.json"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        made = simulate_coron3(folder, chosen)
        make_psfmask(folder / "mask.fits", like=folder / made.science[0])
        done.write_text(json.dumps([made.association.name, made.truth.name]))
    association, truth = json.loads(done.read_text())
    content = json.loads((folder / truth).read_text())
    return Sequence_(folder, folder / association, folder / "mask.fits", content)


@cache
def _sources(package: str) -> str:
    """Hash the sources that made a set."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src" / "webbalign" / package).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fresh(name: str) -> Path:
    """Return an empty folder for products."""
    folder = WORK / "out" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def coron3(association: Path, output: Path, **options: Any) -> Any:
    """Run webbalign's coron3 in this process, silently."""
    import logging

    from webbalign.pipelines.coron3 import run

    logging.getLogger().setLevel(logging.ERROR)
    return run(association, output_dir=output, figure=False, **options)


def product(folder: Path, suffix: str, root: str = "") -> Path:
    """Return the one product of a folder that has this suffix (and root)."""
    found = sorted(folder.glob(f"{root}*_{suffix}.fits"))
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} files {root}*_{suffix}.fits in {folder.name}")
    return found[0]


@cache
def have_jwst() -> bool:
    """Whether there is a jwst to compare with, and it can be imported."""
    if not JWST_PYTHON.exists():
        return False
    try:
        jwst("versions")
    except (OSError, RuntimeError) as error:
        print(f"  {error}", flush=True)
        return False
    return True


def jwst(task: str, *words: object, limit: float | None = None, **settings: Any) -> str:
    """Run a task of ``jwst_side.py`` (or `side`) under jwst's Python; returns what it printed.

    After `limit` seconds it is ended, and subprocess.TimeoutExpired raised.
    """
    command = jwst_command(task, *words, **settings)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode:
        raise RuntimeError(f"{task} under jwst's Python failed:\n{done.stderr[-3000:]}")
    return done.stdout


def jwst_command(
    task: str, *words: object, side: str = "jwst_side.py", **settings: Any
) -> list[str]:
    """Return the command of a task of a script under jwst's Python."""
    script = str(FOLDER / side)
    return [str(JWST_PYTHON), script, task, json.dumps(settings), *map(str, words)]


def jwst_version() -> str:
    """Return e.g. ``jwst 3.0.0 (numpy 2.4.6, ...)``."""
    return jwst("versions").strip() if have_jwst() else ""


@dataclass(frozen=True)
class Usage:
    """What the operating system says a process took: seconds, and MB of peak resident memory."""

    wall: float
    cpu: float
    peak: float


def measure(command: Sequence[str], log: Path) -> Usage:
    """Run a command in a process of its own and account for it.

    A small process starts it: what a process had resident before it became another program counts
    in that program's peak.
    """
    launcher = [sys.executable, "-S", "-E", str(FOLDER / "launcher.py"), str(log), *command]
    done = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}{done.stderr}")
    return Usage(**json.loads(done.stdout))


def webbalign_command(association: Path, output: Path, **options: Any) -> list[str]:
    """Return the shell command for a coron3 run (options with dots as dashes and underscores).

    One process, if not otherwise said.
    """
    options = {"workers": 1} | options
    command = [sys.executable, "-m", "webbalign", "coron3", str(association)]
    command += ["--output-dir", str(output), "--quiet", "--no-report"]
    for name, value in options.items():
        command.append(f"--{name.replace('__', '.').replace('_', '-')}={value}")
    return command


def au_mic() -> Path | None:
    """Unpack the real AU Mic exposures and associate them; None if they are not here."""
    import gzip

    from webbalign.products.associations import make_association

    packed = sorted((DATA / AU_MIC).glob("*_calints.fits.gz"))
    if not packed:
        return None
    folder = WORK / "sets" / "au_mic"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for path in packed:
        name = folder / path.name.removesuffix(".gz")
        if not name.is_file():
            name.write_bytes(gzip.decompress(path.read_bytes()))
        names.append(name)
    association = folder / "au_mic_asn.json"
    association.write_text(json.dumps(make_association(names, folder=folder)))
    return association
