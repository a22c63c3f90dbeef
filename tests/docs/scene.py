"""The files that README and docs speak of, under the names that they have there."""

from __future__ import annotations

import csv
import http.server
import io
import json
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

from astropy.table import Table

COLUMNS = {
    "source_id": "source_id", "ra": "ra", "ra_error": "ra_error", "dec": "dec",
    "dec_error": "dec_error", "parallax": "parallax", "parallax_error": "parallax_error",
    "pmra": "pmra", "pmra_error": "pmra_error", "pmdec": "pmdec", "pmdec_error": "pmdec_error",
    "ref_epoch": "ref_epoch", "mag": "phot_g_mean_mag",
}  # fmt: skip


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def finished(folder: Path, products: Path) -> None:
    """Place the products of a run into ``out``."""
    for path in products.iterdir():
        place(path, folder / "out" / path.name)
    (combined,) = products.glob("*_i2d.fits")
    place(combined, folder / "out" / "x_i2d.fits")


def coronagraphy(folder: Path, sequence, products: Path | None) -> None:
    """``x_asn.json`` and its exposures; with products, what the steps are tried on."""
    source = sequence.association.parent
    for member in (*sequence.science, *sequence.psf):
        place(source / member, folder / member)
    shutil.copy(sequence.association, folder / "x_asn.json")
    if products is None:
        return
    first = sequence.science[0].removesuffix("_calints.fits")
    place(source / sequence.science[0], folder / "target_calints.fits")
    place(source / sequence.science[0], folder / "x_calints.fits")
    for suffix, name in [
        (f"{first}_*_crfints.fits", "target_crfints.fits"),
        (f"{first}_*_psfalign.fits", "target_psfalign.fits"),
        (f"{first}_*_psfsub.fits", "x_psfsub.fits"),
        ("*_psfstack.fits", "x_psfstack.fits"),
    ]:
        (path,) = products.glob(suffix)
        place(path, folder / name)
    for member in sequence.psf:
        (path,) = products.glob(member.replace("_calints.fits", "_*_crfints.fits"))
        place(path, folder / path.name)


def stars(folder: Path, mosaic) -> None:
    """``*_cal.fits`` of one band, ``asn.json`` and ``gaia.ecsv``; the band as a folder as well."""
    band = "F300M"
    paths = mosaic.files[band]
    for path in paths:
        place(Path(path), folder / Path(path).name)
        place(Path(path), folder / "target" / band / Path(path).name)
    place(Path(mosaic.gaia), folder / "gaia.ecsv")
    source = Path(mosaic.association)
    if len(mosaic.files) > 1:
        (source,) = (source.parent / band).glob("*_asn.json")
    association = json.loads(source.read_text())
    for member in association["products"][0]["members"]:
        member["expname"] = Path(member["expname"]).name
    (folder / "asn.json").write_text(json.dumps(association))


def bands(folder: Path, mosaic) -> None:
    """``ngc1566/BAND/``, and the bands as folders of their own."""
    root = Path(mosaic.gaia).parent
    (folder / "catalogs").mkdir()
    catalog = Table.read(mosaic.gaia)
    Table([catalog["ra"], catalog["dec"]]).write(folder / "catalogs" / "gaia.fits")
    for band in mosaic.files:
        for path in (root / band).iterdir():
            place(path, folder / band / path.name)
            if path.suffix == ".fits":
                place(path, folder / "ngc1566" / band / path.name)


@contextmanager
def catalog_service(gaia: Path):
    """Answer every question with the stars of a catalog; yields the address."""
    table = Table.read(gaia)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, "epoch"])
    for row in table:
        cells = [row[name] for name in COLUMNS.values()]
        writer.writerow(["" if str(c) in ("--", "nan") else c for c in cells] + ["2016.0"])
    content = f"#Number of objects found: {len(table)}\n{text.getvalue()}".encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/webservices/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
