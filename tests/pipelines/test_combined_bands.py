"""wcs adjust by stars and images in one solution, from files to files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tests.pipelines.test_stack_bands import SIZE, VISITS, corrected, error_mas, images
from webbalign.core.errors import OptionError
from webbalign.pipelines.wcs_adjust import GetWCSAdjustStep, get_wcs_adjust
from webbalign.products.wcs_adjust_file import AdjustStatus, read_wcs_adjust
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.simulate.mosaic_truth import read_frame_truth

UP = (AdjustStatus.ALIGNED, AdjustStatus.REFERENCE)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three visits with nebulosity; the first has noise in its place."""
    options = MosaicSimulation(
        bands=("F770W",), visits=3, dithers=2, size=SIZE, dither_step=2.0
    )  # fmt: skip
    folder = simulate_mosaic(tmp_path_factory.mktemp("field") / "F770W", options).truth.parent
    for path in images(folder, VISITS[0]):
        with fits.open(path, mode="update") as hdulist:
            noise = np.random.default_rng(int(path.name[20:25])).normal(0, 1, (SIZE, SIZE))
            hdulist["SCI"].data[:] = noise
    return folder


def true_stars(model, folder, field):
    """The stars of the first two visits, as if the third had none."""
    name = model.meta.filename
    truth = read_frame_truth(field / "truth" / name.replace("_cal.fits", "_truth.asdf"))
    shown = (truth.magnitude < 27) & (name[:13] != VISITS[2])
    inside = (np.abs(truth.x - SIZE / 2) < SIZE / 2) & (np.abs(truth.y - SIZE / 2) < SIZE / 2)
    return Table({"x": truth.x[shown & inside], "y": truth.y[shown & inside]})


def get(field, folder, method, **options):
    return get_wcs_adjust(
        {"F770W": images(field, *VISITS[:3])}, output_dir=folder, method=method,
        group_dithers="miri", custom_catalog_function=true_stars,
        custom_catalog_function_kwargs={"field": field},
        tweakreg_parameters={"minobj": 5}, **options,
    )  # fmt: skip


def connected(adjust):
    return [visit for visit in VISITS[:3] if adjust.of(visit).status in UP]


def test_both_together_connect_what_neither_does_alone(field, tmp_path):
    assert connected(get(field, tmp_path / "stars", "tweakreg")) == VISITS[:2]
    assert connected(get(field, tmp_path / "images", "cross_corr")) == VISITS[1:3]
    adjust = get(field, tmp_path / "both", "combined")
    assert adjust.all_aligned
    assert connected(adjust) == VISITS[:3]
    for visit, n_pairs, bright in zip(VISITS, (0, 1, 1), (True, True, False), strict=False):
        entry = adjust.of(visit)
        assert entry.n_pairs == n_pairs
        assert (entry.n_used > 5) == bright
        assert entry.methods == ("combined",)
    paths = images(field, *VISITS[:3])
    assert error_mas(field, paths) > 100
    assert error_mas(field, corrected(adjust, paths, tmp_path / "out")) < 5  # (jitter: 3 mas)
    again = read_wcs_adjust(tmp_path / "both" / "target_wcs_adjust.toml")
    assert [entry.n_pairs for entry in again.entries] == [0, 1, 1]
    table = Table.read(tmp_path / "both" / "get_wcs_adjust" / "F770W_combined_pairs.ecsv")
    assert table["used"].tolist() == [False, False, True]
    assert np.isfinite(table["closure"][2]).all()


@pytest.mark.parametrize("given", [{"fitgeometry": "general"}, {"solver": "sequential"}])
def test_what_images_cannot_tell_is_refused_before_any_work(field, tmp_path, given):
    step = GetWCSAdjustStep(
        field.parent, None, "m51", tmp_path, bands=["F770W"], method="combined",
        tweakreg_parameters=given, corr_rotation=False,
    )  # fmt: skip
    with pytest.raises(OptionError, match="F770W.*fitgeometry"):
        step.run_combined("F770W", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_pairs_of_different_bands_connect_visits(tmp_path):
    """Of two visits that show one field in different bands only mixed pairs tell anything."""
    options = MosaicSimulation(
        bands=("F770W", "F1000W"), visits=2, dithers=2, size=SIZE, jitter=0.0, dither_step=2.0
    )
    root = simulate_mosaic(tmp_path / "field", options).truth.parent
    bands = {"F770W": VISITS[0], "F1000W": None}
    given = {}
    for band in bands:
        paths = sorted((root / band).glob("*_cal.fits"))
        visit = sorted({path.name[:13] for path in paths})[0 if band == "F770W" else 1]
        given[band] = [Path(shutil.copy(path, tmp_path)) for path in paths if visit in path.name]
    apart = get_wcs_adjust(given, output_dir=tmp_path / "a", method="cross_corr")
    assert len({entry.frame for entry in apart.entries}) == 2
    mixed = get_wcs_adjust(given, output_dir=tmp_path / "b", method="cross_corr", mix_bands=True)
    assert mixed.all_aligned
    assert len({entry.frame for entry in mixed.entries}) == 1
    assert {entry.bands for entry in mixed.entries} == {("F770W",), ("F1000W",)}
    assert mixed.run["mix_bands"]
    assert set(mixed.run["bands"]) == set(bands)
    paths = [path for band in given.values() for path in band]
    assert error_mas(root, paths) > 100
    # what filters differ by is not simulated
    assert error_mas(root, corrected(mixed, paths, tmp_path / "out")) < 10
