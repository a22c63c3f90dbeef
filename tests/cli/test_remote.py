"""Commands on files elsewhere: the same products as from files here, and no secret in any."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.elsewhere import serving
from webbalign.cli import main
from webbalign.products import remote
from webbalign.products.mask_files import make_psfmask

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SECRET = "s3cr3t"
ACCESS = f"me:{SECRET}@"
SIGNED = f"?X-Amz-Signature={SECRET}"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_origins", {})


@pytest.fixture
def server():
    with serving() as running:
        yield running


def secrets_in(folder):
    return [
        path
        for path in folder.rglob("*")
        if SECRET in path.name or (path.is_file() and SECRET.encode() in path.read_bytes())
    ]


def test_coron3_of_an_association_elsewhere(sequence, server, tmp_path, capsys, caplog):
    server.put_folder(sequence.association.parent, "a/")
    first = sequence.association.parent / sequence.science[0]
    make_psfmask(output="mask.fits", like=str(first), radius=6.0)
    server.put("m/mask.fits", (tmp_path / "mask.fits").read_bytes())
    options = ["--align-refs.align-to", "first", "--no-figure", "--workers", "1"]
    far = server.address(f"a/{sequence.association.name}", ACCESS) + SIGNED
    mask = server.address("m/mask.fits", ACCESS) + SIGNED
    words = [*options, "--output-dir", "far", "--align-refs.override-psfmask", mask]
    words += ["--log-file", "log.txt", "--save-parameters", "pars.asdf", "--verbose"]
    assert main(["coron3", far, *words]) == 0
    told = capsys.readouterr()
    words = [*options, "--output-dir", "near", "--align-refs.override-psfmask", "mask.fits"]
    assert main(["coron3", str(sequence.association), *words, "--quiet"]) == 0
    near, products = (
        sorted(path.name for path in (tmp_path / n).iterdir()) for n in ("near", "far")
    )
    assert products == near
    for name in [name for name in near if name.endswith(("psfsub.fits", "i2d.fits"))]:
        with fits.open(tmp_path / "near" / name) as one, fits.open(tmp_path / "far" / name) as two:
            np.testing.assert_array_equal(one["SCI"].data, two["SCI"].data)
    aligned = next(name for name in near if name.endswith("psfalign.fits"))
    assert fits.getval(tmp_path / "far" / aligned, "R_PSFMAS") == "mask.fits"
    assert SECRET not in told.out + told.err
    assert f"fetched http://127.0.0.1:{server.port}/m/mask.fits?..." in told.err
    assert secrets_in(tmp_path) == []


def test_what_is_missing_elsewhere_is_one_line(sequence, server, capsys):
    server.put_folder(sequence.association.parent)
    missing = server.files.pop(sequence.psf[0])
    assert missing.content
    far = server.address(sequence.association.name, ACCESS) + SIGNED
    assert main(["coron3", far, "--output-dir", "out"]) == 1
    lines = capsys.readouterr().err.splitlines()
    told = f"webbalign: error: no such file - http://127.0.0.1:{server.port}/"
    assert lines[-1].startswith(told)
    assert f"{sequence.psf[0]} - give a file that can be read" in lines[-1]
    assert SECRET not in "".join(lines)


@pytest.mark.slow
def test_stars_solution_and_correction_of_images_elsewhere(mosaic, server, tmp_path, capsys):
    folder = next(iter(mosaic.files.values()))[0].parent
    server.put_folder(folder, "i/")
    server.put("gaia.ecsv", mosaic.gaia.read_bytes())
    server.put(f"i/{mosaic.association.name}", mosaic.association.read_bytes())
    images = [
        server.address(f"i/{path.name}", ACCESS) + SIGNED
        for path in next(iter(mosaic.files.values()))
    ]
    serial = ["--executor", "serial"]
    assert main(["find-stars", *images, "--output-dir", "cats", *serial]) == 0
    for path in filter(Path.is_file, (tmp_path / "cats").iterdir()):
        server.put(f"c/{path.name}", path.read_bytes())
    lists = [
        server.address(f"c/{path.name}") for path in sorted((tmp_path / "cats").glob("*.ecsv"))
    ]
    shutil.rmtree(tmp_path / "cats")
    gaia = server.address("gaia.ecsv", ACCESS) + SIGNED
    status = main(["solve", *lists, "--abs-refcat", gaia, "--output-dir", "out"])
    assert status in (0, 3)
    server.put("s.ecsv", (tmp_path / "out" / "tweakreg_solution.ecsv").read_bytes())
    words = [server.address("s.ecsv"), *images, "--output-dir", "out", *serial]
    assert main(["apply-solution", *words]) in (0, 3)
    far = server.address(f"i/{mosaic.association.name}", ACCESS) + SIGNED
    assert main(["tweakreg", far, "--abs-refcat", gaia, "--output-dir", "all", *serial]) == status
    one, two = (
        sorted(p.name for p in (tmp_path / n).glob("*_tweakreg.fits")) for n in ("out", "all")
    )
    assert one == two
    assert len(one) == len(images)
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert secrets_in(tmp_path) == []


@pytest.mark.slow
def test_wcs_adjust_of_a_target_elsewhere(mosaic, tmp_path, monkeypatch, server, capsys):
    paths = next(iter(mosaic.files.values()))
    for path in paths:
        server.put(f"m51/F300M/{path.name}", path.read_bytes())
    listing = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in paths)
    server.put("m51/F300M/", f"<html>{listing}</html>".encode())
    server.put("gaia.ecsv", mosaic.gaia.read_bytes())
    catalog = server.address("gaia.ecsv", ACCESS) + SIGNED
    words = ["--bands", "F300M", "--alignment-catalog", catalog, "--output-dir", "out"]
    status = main(
        ["wcs-adjust", "get", server.address("m51", ACCESS), *words, "--executor", "serial"]
    )
    told = capsys.readouterr()
    assert status in (0, 3), told.err
    table = tmp_path / "out" / "m51_wcs_adjust.toml"
    assert "/gaia.ecsv?..." in table.read_text()
    server.put("t.toml", table.read_bytes())
    words = [server.address("t.toml"), server.address("m51/F300M"), "--output-dir", "new"]
    assert main(["wcs-adjust", "apply", *words, "--executor", "serial"]) in (0, 3)
    assert sorted(path.name for path in (tmp_path / "new").rglob("*.fits")) == sorted(
        p.name for p in paths
    )
    assert SECRET not in told.out + told.err
    assert secrets_in(tmp_path) == []


def test_an_association_is_made_of_addresses_that_need_no_password(sequence, server, capsys):
    server.put_folder(sequence.association.parent)
    files = [*sequence.science, *sequence.psf]
    assert main(["asn", *map(server.address, files), "--output", "x_asn.json"]) == 0
    capsys.readouterr()
    assert main(["coron3", "x_asn.json", "--dry-run"]) == 0
    assert f"science    {sequence.science[0]}" in capsys.readouterr().out
    assert main(["asn", *(server.address(name, ACCESS) for name in files)]) == 1
    told = capsys.readouterr()
    assert "password" in told.err
    assert SECRET not in told.out + told.err
