"""The report of a coron3 run: what it tells of a small simulated one, and of what is missing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits

from webbalign.core.annuli import annular_rms
from webbalign.core.errors import InputError
from webbalign.pipelines import coron3
from webbalign.products.coron_products import find_coron_products
from webbalign.reports.coron3_page import coron3_page, report_coron3


@pytest.fixture(scope="module")
def folder(sequence, tmp_path_factory):
    """The products of a run."""
    path = tmp_path_factory.mktemp("products")
    coron3.run(sequence.association, output_dir=path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def section(page, name):
    (found,) = (section for section in page.sections if section.name == name)
    return found


def item(page, name, title):
    (found,) = (item for item in section(page, name).items if item.title == title)
    return found


def test_the_products_of_a_run_are_found(folder, sequence):
    (products,) = find_coron_products(folder)
    assert len(products.exposures) == len(sequence.science)
    first = products.exposures[0]
    assert None not in (first.psfalign, first.crfints, products.psfstack)
    assert len(products.files) == 2 + 3 * len(products.exposures)
    nints, npsfs = (
        fits.getval(first.psfalign, "NAXIS4", "SCI"),
        len(np.unique(first.shifts["psf_int"])),
    )
    assert len(first.shifts) == nints * npsfs
    assert first.before.shape == first.after.shape == (80, 80)
    assert products.resolution == pytest.approx(np.degrees(3.56e-6 / 6.5) * 3600, rel=0.3)


def test_the_numbers_are_those_of_the_products(folder):
    (products,) = find_coron_products(folder)
    page = coron3_page(products, folder)
    row = item(page, "subtraction", "Rms in rings").rows[0]
    exposure = products.exposures[0]
    scale = np.sqrt(exposure.subtracted.meta.photometry.pixelarea_arcsecsq)
    with fits.open(exposure.psfsub) as hdulist:
        mean = hdulist["SCI"].data.mean(axis=0, dtype=float)
    expected = annular_rms(mean, exposure.star, np.array([0.4, 0.7]) / scale)[0]
    assert float(row[1].split("→")[1]) == pytest.approx(expected, rel=0.02)
    files = item(page, "files", "Products").rows
    assert [link.href for link, _ in files] == [path.name for path in products.files]


def test_the_model_of_the_starlight_is_shown(folder):
    (products,) = find_coron_products(folder)
    first = products.exposures[0]
    assert len(first.modes) == 4
    assert np.all(np.diff(first.eigenvalues) <= 0)
    # behind the mask nothing counts, away from it everything does
    x, y = np.rint(first.star).astype(int)
    assert first.weight[y, x] < 0.1
    assert np.median(first.weight[10:-10, 10:-10]) > 0.5
    page = coron3_page(products, folder)
    names = [found.name for found in section(page, "starlight").items]
    assert names == ["eigenvalues", "modes"]
    assert "weight" in [found.name for found in section(page, "alignment").items]


def test_a_good_run_has_no_warnings_and_a_failed_fit_has_one(copy):
    (products,) = find_coron_products(copy)
    assert coron3_page(products, copy).warnings == []
    with fits.open(products.exposures[0].psfalign, mode="update") as hdulist:
        hdulist["SHIFTS"].data["status"][3] = "NO_SIGNAL"
    (products,) = find_coron_products(copy)
    (warning,) = coron3_page(products, copy).warnings
    assert "1 of 60 references could not be aligned (NO_SIGNAL)" in warning


def test_products_without_our_tables_have_a_report_as_well(copy):
    """As those of jwst."""
    (products,) = find_coron_products(copy)
    for path in (*(e.psfalign for e in products.exposures), products.exposures[1].crfints):
        path.unlink()
    (products,) = find_coron_products(copy)
    page = coron3_page(products, copy)
    assert section(page, "alignment").text == "The products hold no table of fitted shifts."
    assert sum("_psfalign file is not here" in text for text in page.warnings) == 2
    assert sum("_crfints file is not here" in text for text in page.warnings) == 1


def test_the_page_is_written_beside_the_products_or_elsewhere(folder, tmp_path):
    (products,) = find_coron_products(folder)
    ra, dec = products.combined.meta.wcs(40.0, 40.0, with_bounding_box=False)
    page, *figures = report_coron3(
        products, tmp_path, star_flux=2.0, marks=[(float(ra), float(dec))]
    )
    assert page.name == products.path.name.replace("_i2d.fits", "_report.html")
    assert page.stat().st_size < 10e6
    assert {figure.suffix for figure in figures} == {".png", ".pdf"}
    assert f"/{products.path.name}" in page.read_text()


def test_a_folder_without_products_is_refused(tmp_path):
    with pytest.raises(InputError, match="^no products of a coron3 run"):
        find_coron_products(tmp_path)


def test_a_combined_image_alone_is_refused(copy):
    for path in copy.glob("*_psfsub.fits"):
        path.unlink()
    with pytest.raises(InputError, match="none of its _psfsub files lies beside it"):
        find_coron_products(copy)


def test_the_exposures_of_reference_stars_are_named(folder, sequence):
    (products,) = find_coron_products(folder)
    assert len(products.references) == len(sequence.psf)
    rows = item(coron3_page(products, folder), "files", "Exposures of reference stars").rows
    with fits.open(products.references[0].crfints) as hdulist:
        assert rows[0][3] == str(len(hdulist["DQ"].data))
        assert rows[0][1] == hdulist[0].header["TARGPROP"]
    with fits.open(products.psfstack, mode="update") as hdulist:
        before, hdulist["PSFSRC"].name = hdulist["PSFSRC"].data["filename"][0], "OTHER"
    try:  # without the table of sources they are found by their keyword
        (again,) = find_coron_products(folder)
        assert [r.name for r in again.references] == [r.name for r in products.references]
        assert before == products.references[0].crfints.name
    finally:
        with fits.open(products.psfstack, mode="update") as hdulist:
            hdulist["OTHER"].name = "PSFSRC"


def test_limits_are_fluxes_and_with_the_flux_of_the_star_contrasts(folder):
    (products,) = find_coron_products(folder)
    limits = section(coron3_page(products, folder), "limits")
    assert "--star-flux" in limits.text
    with_star = section(coron3_page(products, folder, star_flux=2.0), "limits")
    assert "2 Jy" in with_star.text
    for plain, row in zip(limits.items[1].rows, with_star.items[1].rows, strict=True):
        assert row[:-1] == plain
        assert float(row[-1]) == pytest.approx(float(row[-2]) * 1e-6 / 2, rel=0.06)
        # the subtraction lowers the limit near the star
        if float(row[0].rstrip("″")) < 1:
            assert float(row[3]) > 3 * float(row[4])


def test_limits_are_corrected_for_what_the_subtraction_takes(copy):
    (products,) = find_coron_products(copy)
    with_it = section(coron3_page(products, copy), "limits")
    table = with_it.items[1]
    shares = [float(row[table.head.index("throughput")]) for row in table.rows]
    assert 0.02 < shares[0] < shares[-1] <= 1  # far from the star there is less to mistake it for
    assert "Corrected for the light that the subtraction takes" in with_it.text
    for exposure in products.exposures:
        with fits.open(exposure.psfsub, mode="update") as hdulist:
            del hdulist["KLTHRU"]
    (products,) = find_coron_products(copy)
    without = section(coron3_page(products, copy), "limits")
    assert "throughput" not in without.items[1].head
    assert "which these products do not tell" in without.text
    for share, row, plain in zip(shares, table.rows, without.items[1].rows, strict=True):
        assert float(row[-1]) == pytest.approx(float(plain[-1]) / share, rel=0.08)


def test_a_combined_image_that_names_the_inputs_of_the_run(copy):
    """As those of jwst do."""
    (path,) = copy.glob("*_i2d.fits")
    with fits.open(path, mode="update") as hdulist:
        names = [str(name) for name in hdulist["HDRTAB"].data["FILENAME"]]
        for row, name in enumerate(names):
            member = name.rsplit("_", 2)[0]
            hdulist["HDRTAB"].data["FILENAME"][row] = f"{member}_calints.fits"
    (products,) = find_coron_products(copy)
    assert [exposure.psfsub.name for exposure in products.exposures] == names


def test_without_errors_no_significance_is_given(copy):
    (path,) = copy.glob("*_i2d.fits")
    with fits.open(path, mode="update") as hdulist:
        hdulist["ERR"].data[:] = np.nan
    (products,) = find_coron_products(copy)
    page = coron3_page(products, copy)
    assert "no significance can be given" in page.warnings[0]
    assert [plot.name for plot in section(page, "result").items] == ["combined"]


def test_rolls_that_disagree_about_the_star_are_warned_of(copy):
    (products,) = find_coron_products(copy)
    assert products.combined_on == "wcs"
    exposure = products.exposures[1]
    info = exposure.subtracted.meta.wcsinfo
    info.crpix1 += 3.0  # the star is now elsewhere than the WCS has it
    (warning,) = (text for text in coron3_page(products, copy).warnings if "WCS" in text)
    assert f"the star of {exposure.name} is 3.0 px away" in warning
    object.__setattr__(products, "combined_on", "star")
    assert not any("WCS" in text for text in coron3_page(products, copy).warnings)


def test_too_few_integrations_are_warned_of(copy):
    (products,) = find_coron_products(copy)
    model = products.exposures[0].subtracted
    for name in ("data", "err", "dq"):
        setattr(model, name, getattr(model, name)[:2])
    warnings = coron3_page(products, copy).warnings
    assert [text for text in warnings if "fewer than 3 integrations" in text] == [
        f"{products.exposures[0].name}: fewer than 3 integrations, among which outliers cannot be "
        "told."
    ]
