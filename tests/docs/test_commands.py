"""Every command of README and docs is run, and every piece of Python.

Each page has a folder of its own with the files that it speaks of, small ones; its commands follow
one another there, so that what one writes the next one reads. Simulations are made smaller than the
pages say, work is done in this process, and reports are left out but where the page shows them.
The first steps belong to the quick tests, the other pages to all tests.
"""

from __future__ import annotations

import glob
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
from stpipe._cmdline import step_from_cmdline

from benchmarks.clusters import Cluster
from tests.docs.scene import bands, catalog_service, coronagraphy, finished, stars
from tests.docs.snippets import PAGES, ROOT, inline_commands, snippets
from tests.elsewhere import bucket_service, serving
from webbalign.cli import main
from webbalign.cli.commands import COMMANDS
from webbalign.cli.parser import parse
from webbalign.products import gaia
from webbalign.simulate import MosaicSimulation, simulate_mosaic

QUICK = ("docs/start.md",)
# what no test can do, and why
NOT_RUN = {
    "pip install": "installs packages",
    ". .venv/bin/activate": "changes the shell that reads it",
    "make": "the targets are looked for; `make demo` has a test, the others are what is running",
    "dask-ssh": "needs other computers",
    "dask scheduler": "runs until it is ended",
    "srun": "needs SLURM",
    "python -m benchmarks": "takes hours",
}
REPORTS = ("docs/reports.md", "docs/coron3.md")
# those that may end with another status than 0: status if something was changed since; wcs-adjust
# if the small images of a band show too few stars to be aligned
STATUSES = {"status": (0, 3), "wcs-adjust get": (0, 3), "wcs-adjust apply": (0, 3)}
# names that stand for those of the reader
NAMES = {"jw..._asn.json": "x_asn.json", "DIR": "made"}
# what the Python of a page calls by a name of the reader's
VARIABLES = {
    "docs/execution.md": lambda: {"function": abs, "items": [-1, 2]},
    "docs/wcs_adjust.md": lambda: {
        "files": sorted(glob.glob("ngc1566/F300M/*_cal.fits")),
        "other_files": sorted(glob.glob("ngc1566/F1000W/*_cal.fits")),
    },
}
SCHEDULERS = ("tcp://scheduler:8786", "tcp://$(hostname):8786")
SMALL = {
    "simulate coron3": {
        "nints": "3", "ref-nints": "2", "ref-dithers": "3", "shape": "64,64", "wavelengths": "1",
    },
    "simulate mosaic": {
        "size": "256", "dithers": "2", "visits": "2", "star-density": "2500",
        "magnitudes": "16,22", "gaia-limit": "23", "detectors": "nrca1,nrcalong,mirimage",
    },
}  # fmt: skip


SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]
COMMAND_LINES = [snippet for snippet in SNIPPETS if snippet.language == "shell"]
CLOUD = "docs/cloud.md"
LATER = sorted({snippet.page for snippet in SNIPPETS} - {*QUICK, CLOUD})


def named(words):
    """Return the command, and the words after its name."""
    size = 2 if " ".join(words[:2]) in COMMANDS else 1
    return COMMANDS[" ".join(words[:size])], words[size:]


def reason_not_to_run(snippet):
    return next((why for start, why in NOT_RUN.items() if snippet.text.startswith(start)), "")


@pytest.mark.parametrize("snippet", COMMAND_LINES, ids=str)
def test_command_lines_are_understood(snippet):
    first, *words = snippet.words
    if first == "webbalign":
        command, rest = named(words)
        parsed = parse(rest, command.all_flags())
        least, largest = command.count
        assert len(parsed.positionals) >= least
        assert largest is None or len(parsed.positionals) <= largest
    elif first == "make":
        targets = [word for word in words if "=" not in word]
        makefile = (ROOT / "Makefile").read_text()
        for target in targets:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
    else:
        assert first == "strun" or reason_not_to_run(snippet), f"say what to do with {snippet.text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_prose_exist(page):
    for where, text in inline_commands(page):
        words = [word for word in text.split() if word != "..."][1:]
        if words[0] == "COMMAND":
            continue
        command, rest = named([word.strip("[]") for word in words])
        known = {f"--{flag.name}" for flag in command.all_flags()} | {"--help"}
        for word in rest:
            option = re.sub(r"=.*", "", word)
            assert not option.startswith("--") or option in known, (where, option)


def test_all_pages_were_found():
    assert len(PAGES) > 25
    assert len(COMMAND_LINES) > 60


@pytest.fixture(scope="module")
def products(sequence, tmp_path_factory):
    """Of a coron3 run."""
    folder = tmp_path_factory.mktemp("products")
    words = ["coron3", str(sequence.association), "--output-dir", str(folder), "--no-report"]
    assert main([*words, "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """One band, with stars enough for small images."""
    options = MosaicSimulation(
        bands=("F300M",), size=256, dithers=2, star_density=2500, magnitudes=(16, 22), gaia_limit=23
    )
    return simulate_mosaic(tmp_path_factory.mktemp("field"), options)


@pytest.fixture(scope="module")
def many_bands(tmp_path_factory):
    options = MosaicSimulation(
        bands=("F200W", "F300M", "F1000W"), detectors=("nrca1", "nrcalong", "mirimage"), size=256,
        dithers=2, star_density=2500, magnitudes=(16, 22), gaia_limit=23,
    )  # fmt: skip
    return simulate_mosaic(tmp_path_factory.mktemp("bands"), options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of a page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    monkeypatch.setattr(gaia, "WAITS", (0.0, 0.0))
    return tmp_path


@pytest.mark.parametrize("page", QUICK)
def test_commands_of_the_first_pages_work(page, folder, sequence, field, monkeypatch):
    coronagraphy(folder, sequence, None)
    stars(folder, field)
    with catalog_service(field.gaia) as address:
        monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", address)
        assert set(run_page(page)) <= {0}


@pytest.fixture
def laid_out(folder, sequence, products, many_bands, monkeypatch):
    """All files that the pages name."""
    coronagraphy(folder, sequence, products)
    stars(folder, many_bands)
    bands(folder, many_bands)
    with catalog_service(many_bands.gaia) as address:
        monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", address)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("page", LATER)
def test_commands_of_the_other_pages_work(page, laid_out, products, tmp_path_factory):
    if page == "docs/reports.md":
        finished(laid_out, products)
    if page == "README.md":
        # it takes all exposures that there are
        for name in ("target_calints.fits", "x_calints.fits"):
            (laid_out / name).unlink()
    texts = [snippet.text for snippet in snippets(ROOT / page) if snippet.language == "shell"]
    if any(address in text for text in texts for address in SCHEDULERS):
        pytest.importorskip("distributed")
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), 1)
        try:
            statuses = run_page(page, dict.fromkeys(SCHEDULERS, cluster.address))
        finally:
            cluster.end()
    else:
        statuses = run_page(page)
    # (each is judged where its command is known; here: none is an error)
    assert set(statuses) <= {0, 3}


@pytest.mark.slow
def test_commands_with_addresses_work(laid_out, bucket):
    for path in laid_out.glob("*_calints.fits"):
        bucket.put_file(str(path), f"bucket/program/{path.name}")
    bucket.put_file("x_asn.json", "bucket/program/jw01386-c1001_coron3_asn.json")
    for path in laid_out.glob("ngc1566/*/*.fits"):
        bucket.put_file(str(path), f"bucket/{path.relative_to(laid_out)}")
    with serving() as server:
        server.put_folder(laid_out, "data/")
        server.put("data/x_asn.json", Path("asn.json").read_bytes())
        server.put("gaia.ecsv", Path("gaia.ecsv").read_bytes())
        statuses = run_page(CLOUD, {"https://host.org/": server.address("")})
    assert set(statuses) <= {0, 3}
    assert statuses


@pytest.mark.slow
def test_make_demo_ends_with_a_picture(tmp_path):
    """All of it but the installation, for which this environment stands."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "webbalign"):
        program = Path(sys.executable).parent / name
        if not program.is_file():
            pytest.skip(f"{name} is not installed beside this Python")
        (programs / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / "venv" / ".stamp-run").touch()
    words = [f"VENV={tmp_path / 'venv'}", f"DEMO_DIR={tmp_path / 'demo'}"]
    ended = subprocess.run(
        ["make", "-C", ROOT, "demo", *words], capture_output=True, text=True, check=True
    )
    (picture,) = (tmp_path / "demo" / "products").glob("*_i2d.png")
    assert str(picture) in ended.stdout


@pytest.fixture
def bucket(monkeypatch):
    """A service like S3 on this machine, with one bucket."""
    with bucket_service(monkeypatch, "bucket", "mine") as system:
        yield system


def run_page(page, addresses=MappingProxyType({})):
    """Run what a page shows; return the exit statuses of its webbalign commands."""
    names = VARIABLES.get(page, dict)()
    statuses = []
    for snippet in snippets(ROOT / page):
        if snippet.language == "file":
            write(snippet.text)
        elif snippet.language == "python":
            run_python(snippet, names)
        elif snippet.words[0] == "webbalign":
            statuses.append(run_command(snippet, addresses))
        elif snippet.words[0] == "strun":
            step_from_cmdline(snippet.words[1:])
        else:
            assert reason_not_to_run(snippet)
    return statuses


def run_command(snippet, addresses):
    command, words = named(snippet.words[1:])
    words = [NAMES.get(word, word) for word in words]
    for written, real in addresses.items():
        words = [word.replace(written, real) for word in words]
    for option, value in SMALL.get(command.name, {}).items():
        if f"--{option}" in words:
            words[words.index(f"--{option}") + 1] = value
        elif option != "detectors":
            words += [f"--{option}", value]
    flags = {flag.name for flag in command.flags()}
    words += ["--executor", "serial"] if "executor" in flags and "--dask" not in words else []
    words += ["--no-report"] if "report" in flags and snippet.page not in REPORTS else []
    words = [name for word in words for name in (sorted(glob.glob(word)) or [word])]
    status = main([*command.name.split(), *words, "--quiet"])
    assert status in STATUSES.get(command.name, (0,)), f"{snippet}: {snippet.text}: {status}"
    return status


def run_python(snippet, names):
    text = re.sub(r'(?<=")[^"\n]*\.\.\.[^"\n]*(?=")', lambda name: found(name[0]), snippet.text)
    # the text of our own documentation
    exec(compile("\n" * (snippet.line - 1) + text, snippet.page, "exec"), names)  # noqa: S102


def found(name):
    """Return the first file of a name in which dots stand for a part."""
    return sorted(glob.glob(name.replace("...", "*")))[0]


def write(text):
    name, _, content = text.removeprefix("# ").partition("\n")
    with open(name, "w") as file:
        file.write(content + "\n")
