"""report and show, as a user calls them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from webbalign.cli import main


@pytest.fixture
def product(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    science = fits.ImageHDU(np.random.default_rng(0).normal(size=(20, 30)), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), science]).writeto(tmp_path / "x_i2d.fits")
    return tmp_path / "x_i2d.fits"


def test_show_saves_beside_the_user_where_there_is_no_display(product, capsys):
    assert main(["show", "x_i2d.fits"]) == 0
    assert capsys.readouterr().out == "saved x_i2d.png\n"
    assert (product.parent / "x_i2d.png").stat().st_size > 1000
    assert main(["show", "x_i2d.fits", "--save", "p.pdf", "--stretch", "asinh"]) == 0
    assert (product.parent / "p.pdf").is_file()


def test_show_says_what_is_wrong(product, capsys):
    assert main(["show", "x_i2d.fits", "--plane", "1"]) == 1
    told = "option 'plane' is 1 - give none: the product is a single image"
    assert told in capsys.readouterr().err
    assert main(["show", "y_i2d.fits"]) == 1
    assert "no such file - y_i2d.fits - give " in capsys.readouterr().err


def test_report_says_what_is_wrong(product, capsys):
    assert main(["report", str(product.parent)]) == 1
    assert f"no products of a coron3 run - {product.parent} - give " in capsys.readouterr().err
    assert main(["report", str(product), "--mark", "10"]) == 2
    assert "--mark is 10.0 - give pairs of RA and Dec" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert main(["report", "nowhere"]) == 1
    assert "no such file or folder - nowhere - give " in capsys.readouterr().err


def test_report_names_the_page(product, monkeypatch, capsys):
    from webbalign.products import coron_products
    from webbalign.reports import coron3_page

    calls = []

    def write(run, folder, **options):
        calls.append((run, folder, options))
        return [product.parent / "page.html"]

    monkeypatch.setattr(coron_products, "find_coron_products", lambda source: [source])
    monkeypatch.setattr(coron3_page, "report_coron3", write)
    for folder in "ab":
        (product.parent / folder).mkdir()
    words = ["report", "a", "b", "--output-dir", "out", "--mark", "10,-5", "--star-flux", "2"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("page.html") == 2
    assert calls[0] == ("a", "out", {"star_flux": 2.0, "marks": [(10.0, -5.0)]})
