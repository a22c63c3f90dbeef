"""Hard cases of wcs adjust, as a user of the shell meets them: how it ends, and what is said."""

import re
import shutil

import numpy as np
import pytest
from astropy.io import fits

from webbalign.cli import main
from webbalign.core.planes import TangentPlane
from webbalign.pipelines.apply_adjust import apply_wcs_adjust
from webbalign.products.corrector import Correction
from webbalign.products.image_files import read_info
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import (
    AdjustStatus,
    VisitCorrection,
    WcsAdjust,
    read_wcs_adjust,
)
from webbalign.simulate import MosaicSimulation, simulate_mosaic

SIZE = 320
STARS = "F300M", "F150W"
DIFFUSE = "F770W"
GRID = np.stack(np.meshgrid([5.0, 160.0, 300.0], [5.0, 160.0, 300.0]), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """Three visits of one exposure, in two channels of NIRCam."""
    options = MosaicSimulation(
        bands=STARS, visits=3, dithers=1, size=SIZE, star_density=3000.0, magnitudes=(16.0, 22.0),
        gaia_limit=22.0, galaxies=0.0, detectors=("nrca1", "nrcalong"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("stars")
    simulate_mosaic(folder, options)
    return folder


@pytest.fixture(scope="module")
def diffuse(tmp_path_factory):
    """Three visits of one exposure with nebulosity."""
    options = MosaicSimulation(bands=(DIFFUSE,), visits=3, dithers=1, size=180, jitter=0.0)
    folder = tmp_path_factory.mktemp("diffuse")
    simulate_mosaic(folder / DIFFUSE, options)
    return folder


def copied(source, target, *bands):
    """Copy bands of a target; returns the folder of the target."""
    for band in bands:
        (target / band).mkdir(parents=True)
        for path in (source / band).glob("*_cal.fits"):
            shutil.copy(path, target / band)
    return target


def moved(folder, visit, shift):
    """Shift the WCS of all images of a visit in a folder, arcsec."""
    paths = sorted(folder.glob(f"jw?????00?00{visit}_*_cal.fits"))
    assert paths
    info = read_info(paths[0])
    entry = VisitCorrection(
        AdjustKey(paths[0].name.split("_")[0]), Correction(np.eye(2), np.array(shift)),
        reference=tuple(info.wcs(*(side / 2 for side in info.shape[::-1]))),
        status=AdjustStatus.ALIGNED,
    )  # fmt: skip
    for image in apply_wcs_adjust(WcsAdjust((entry,)), paths, output_dir=folder / "moved"):
        image.path.replace(folder / image.path.name)


def changed(folder, visit, change):
    """Change the pixels of all images of a visit in a folder."""
    for path in folder.glob(f"jw?????00?00{visit}_*_cal.fits"):
        with fits.open(path, mode="update") as hdulist:
            change(hdulist)


def of_nan(hdulist):
    hdulist["SCI"].data[:] = np.nan


def all_bad(hdulist):
    hdulist["DQ"].data[:] |= 1


def get(folder, output, *words):
    words = ["--executor", "serial", "--output-dir", str(output), *words]
    return main(["wcs-adjust", "get", str(folder), *words])


def table_in(output):
    (path,) = output.glob("*_wcs_adjust.toml")
    return read_wcs_adjust(path)


def statuses(output):
    return [str(entry.status) for entry in table_in(output).entries if not entry.key.exposure]


def clean(capsys):
    """Return what was said, which is no traceback."""
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return said


def sky(path):
    return np.stack(read_info(path).wcs(*GRID.T, with_bounding_box=False), axis=-1)


def mas(first, second):
    plane = TangentPlane.about(*first[0])
    return 1e3 * np.hypot(*(plane.from_sky(first) - plane.from_sky(second)).T)


# Visits that cannot be measured -------------------------------------------------------------------


def test_a_visit_whose_stars_nobody_shares_is_named_and_stays(stars, tmp_path, capsys):
    target = copied(stars, tmp_path / "m51", STARS[0])
    moved(target / STARS[0], 2, (0.0, 300.0))
    assert get(target, tmp_path, "--bands", STARS[0], "--figure") == 3
    first, second, third = statuses(tmp_path)
    assert second == "UNCHANGED"
    assert sorted([first, third]) == ["ALIGNED", "REFERENCE"]
    out = clean(capsys).out
    assert "jw09998001002: UNCHANGED: " in out
    assert "overlaps no other image" in out
    table = str(tmp_path / "m51_wcs_adjust.toml")
    words = ["--executor", "serial", "--output-dir", str(tmp_path / "out")]
    assert main(["wcs-adjust", "apply", table, str(target / STARS[0]), *words]) == 3
    assert "3 images written, 0 without a correction, 1 with a doubtful one" in clean(capsys).out
    (path,) = (tmp_path / "out").glob("jw09998001002_*.fits")
    np.testing.assert_array_equal(sky(path), sky(target / STARS[0] / path.name))
    assert fits.getval(path, "S_TWKREG") == "FAILED"


@pytest.mark.parametrize("change", [of_nan, pytest.param(all_bad, marks=pytest.mark.slow)])
def test_a_stack_without_pixels_fails_alone(diffuse, tmp_path, capsys, change):
    target = copied(diffuse, tmp_path / "m51", DIFFUSE)
    changed(target / DIFFUSE, 2, change)
    assert get(target, tmp_path, "--bands", DIFFUSE, "--method", "cross_corr") == 3
    assert "no good pixel" in clean(capsys).out
    first, second, third = statuses(tmp_path)
    assert second == "FAILED"
    assert sorted([first, third]) == ["ALIGNED", "REFERENCE"]


@pytest.mark.parametrize("method", [pytest.param("tweakreg", marks=pytest.mark.slow), "cross_corr"])
def test_a_target_of_nan_only_is_a_table_of_failures(diffuse, tmp_path, capsys, method):
    target = copied(diffuse, tmp_path / "m51", DIFFUSE)
    for visit in (1, 2, 3):
        changed(target / DIFFUSE, visit, of_nan)
    assert get(target, tmp_path, "--bands", DIFFUSE, "--method", method, "--figure") == 3
    assert "3 visits: 3 FAILED" in clean(capsys).out
    assert statuses(tmp_path) == ["FAILED"] * 3


@pytest.mark.parametrize("method", ["tweakreg", "cross_corr"])
def test_a_single_visit_is_its_own_reference(diffuse, tmp_path, capsys, method):
    target = copied(diffuse, tmp_path / "m51", DIFFUSE)
    for path in (target / DIFFUSE).glob("jw?????00?00[23]_*"):
        path.unlink()
    words = ["--bands", DIFFUSE, "--method", method, "--figure"]
    assert get(target, tmp_path, *words) in (0, 3)
    clean(capsys)
    assert statuses(tmp_path) == ["REFERENCE"]
    np.testing.assert_array_equal(table_in(tmp_path).entries[0].correction.matrix, np.eye(2))


# Bands that disagree ------------------------------------------------------------------------------


@pytest.mark.slow
def test_bands_that_disagree_by_100_mas_are_named_with_the_difference(stars, tmp_path, capsys):
    target = copied(stars, tmp_path / "m51", *STARS)
    moved(target / STARS[1], 2, (0.1, 0.0))
    words = ["--bands", ",".join(STARS), "--alignment-dir", str(stars)]
    assert get(target, tmp_path, *words, "--alignment-catalog", "gaia.ecsv") == 3
    out = clean(capsys).out
    table = table_in(tmp_path)
    for visit in ("jw09998001001", "jw09998001003"):
        assert table.of(visit).status is AdjustStatus.ALIGNED
    entry = table.of("jw09998001002")
    assert entry.status is AdjustStatus.INCONSISTENT
    assert entry.bands == tuple(sorted(STARS))
    # the difference and the bands are told, and the error covers both
    assert all(band in entry.reason for band in STARS)
    assert f"jw09998001002: INCONSISTENT: {entry.reason}" in out
    assert 0.03 < entry.errors.max() < 0.2
    words = ["--executor", "serial", "--output-dir", str(tmp_path / "out")]
    table = str(tmp_path / "m51_wcs_adjust.toml")
    assert main(["wcs-adjust", "apply", table, str(target / STARS[0]), *words]) == 3
    assert "1 with a doubtful one" in clean(capsys).out


# Files that cannot be used ------------------------------------------------------------------------


def broken_image(folder):
    path = min(folder.glob("*_cal.fits"))
    path.write_bytes(path.read_bytes()[:200_000])
    return path.name


def no_image(folder):
    path = folder / "jw09998001009_02101_00001_nrcalong_cal.fits"
    path.write_text("not FITS at all")
    return path.name


@pytest.mark.parametrize("spoil", [broken_image, no_image])
@pytest.mark.parametrize("method", ["tweakreg", "cross_corr"])
def test_a_broken_image_is_one_error_that_names_it(stars, tmp_path, capsys, spoil, method):
    target = copied(stars, tmp_path / "m51", STARS[0])
    name = spoil(target / STARS[0])
    assert get(target, tmp_path, "--bands", STARS[0], "--method", method) == 1
    assert name in clean(capsys).err
    assert not list(tmp_path.glob("*_wcs_adjust.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[wcs_adjust\n", "not readable as TOML"),
        ("[wcs_adjust]\njw09998001001.shift = [0.1, 0.2", "not readable as TOML"),
        ("\x00\xff", "not readable as TOML"),
        ("[target]\nname = 'm51'\n", "no table [wcs_adjust]"),
        ("[wcs_adjust]\njw09998001001.shift = [nan, nan]\n", "shift"),
        ("[wcs_adjust]\njw09998001001.matrix = [[0, 0], [0, 0]]\n", "matrix"),
        ("[wcs_adjust]\njw09998001001.shift = [0.1]\n", "2 numbers"),
        ("[wcs_adjust]\n'a visit'.shift = [0.1, 0.2]\n", "a visit"),
        ("[wcs_adjust]\njw09998001001.shift = [0.1, 0.2]\njw09998001001.status = 'GOOD'\n", "GOOD"),
    ],
)
def test_a_broken_table_is_one_line(stars, tmp_path, capsys, text, words):
    table = tmp_path / "broken.toml"
    table.write_bytes(text.encode("latin-1"))
    output = tmp_path / "out"
    for command in (
        ["apply", str(table), str(stars / STARS[0]), "--output-dir", str(output)],
        ["show", str(table)],
    ):
        assert main(["wcs-adjust", *command]) == 1
        said = clean(capsys).err
        assert "broken.toml" in said
        assert words in said
    assert not output.exists() or not list(output.iterdir())


def test_a_broken_parameter_file_is_one_line(stars, tmp_path, capsys):
    parameters = tmp_path / "config.toml"
    parameters.write_text("[parameters\n")
    words = ["--bands", STARS[0], "--tweakreg-parameters-file", str(parameters)]
    assert get(stars, tmp_path, *words) == 1
    assert "config.toml" in clean(capsys).err


def test_a_band_without_a_folder_is_an_error_before_any_work(stars, tmp_path, capsys):
    assert get(stars, tmp_path / "out", "--bands", f"{STARS[0]},F999W") == 1
    assert re.search("no such folder .* - .*F999W - give a folder F999W", clean(capsys).err)
    (tmp_path / "m51" / "F999W").mkdir(parents=True)
    assert get(tmp_path / "m51", tmp_path / "out", "--bands", "F999W") == 1
    assert "no *_cal.fits in it" in clean(capsys).err
    assert not (tmp_path / "out").exists()


# A table of PJPipe itself -------------------------------------------------------------------------

# as PJPipe 1.3.0 lays it out: three decimals, a line for each row of the matrix
PJPIPE = """[wcs_adjust]

jw09998001001_02101_00001.shift = [0.733, 0.089]
jw09998001001_02101_00001.matrix = [
\t[1.0, 0.001],
\t[-0.001, 1.0]
]
jw09998001002.shift = [-0.02, 0.011]
jw09998001002.matrix = [
\t[1.0, 0.0],
\t[-0.0, 1.0]
]
jw09998001003_nrca1.shift = [0.3, 0.0]
jw09998001003_nrca1.matrix = [
\t[1.0, 0.0],
\t[0.0, 1.0]
]

"""


def test_a_table_of_pjpipe_is_applied_as_pjpipe_does(stars, tmp_path, capsys):
    from tweakwcs import JWSTWCSCorrector

    table = tmp_path / "m51_wcs_adjust.toml"
    table.write_text(PJPIPE)
    words = ["--executor", "serial", "--output-dir", str(tmp_path / "out")]
    assert main(["wcs-adjust", "apply", str(table), str(stars / STARS[1]), *words]) == 0
    assert "3 images written, 0 without a correction" in clean(capsys).out
    entries = {str(entry.key): entry.correction for entry in read_wcs_adjust(table).entries}
    for path in (tmp_path / "out").glob("*.fits"):
        (source,) = stars.glob(f"*/{path.name}")
        info = read_info(source)
        corrector = JWSTWCSCorrector(
            info.wcs, {key: info.wcsinfo[key] for key in ("v2_ref", "v3_ref", "roll_ref")}
        )
        names = path.name[:25], path.name[:13], f"{path.name[:13]}_nrca1"
        given = next(entries[name] for name in names if name in entries)
        corrector.set_correction(matrix=given.matrix, shift=given.shift)
        expected = np.stack(corrector.wcs(*GRID.T, with_bounding_box=False), axis=-1)
        assert mas(sky(path), expected).max() < 1e-4
    assert main(["wcs-adjust", "show", str(table)]) == 0
    assert "2 visits: 2 UNKNOWN; 1 exposure" in clean(capsys).out
