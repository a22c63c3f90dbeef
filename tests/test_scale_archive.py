"""The page on scaling holds what its script prints."""

import tomllib
from pathlib import Path

import pytest

scale_archive = pytest.importorskip("benchmarks.scale_archive")


@pytest.fixture
def rates():
    return tomllib.loads((Path(scale_archive.HERE) / "scale_rates.toml").read_text())


def test_the_page_is_up_to_date(rates):
    assert scale_archive.tables(rates) in scale_archive.PAGE.read_text()


def test_sizes_are_those_of_the_products(rates):
    """psfalign of 2 x 30 science and 90 reference integrations is 3.32 GB each, as measured."""
    way = scale_archive.WAYS[0]
    load = scale_archive.one_association(rates, 30, 10, way)
    assert load.psfalign / 2 == pytest.approx(3.32e9, rel=0.01)
    assert load.read == (2 * 30 + 9 * 10) * 320 * 320 * 24


def test_the_archive_is_the_sum_of_its_associations(rates):
    way = scale_archive.WAYS[0]
    whole = scale_archive.archive_load(rates, way)
    rates["archive"]["mix"] = rates["archive"]["mix"][:1]
    part = scale_archive.archive_load(rates, way)
    assert 0 < part.cpu < whole.cpu
    one = scale_archive.one_association(rates, 4, 2, way)
    assert part.written == pytest.approx(2500 * one.written)
    assert part.longest == one.cpu < whole.longest


def test_a_faster_file_system_moves_the_bottleneck(rates):
    load = scale_archive.archive_load(rates, scale_archive.WAYS[0])
    before = scale_archive.times(rates, load)
    rates["cluster"]["shared_bandwidth"] *= 10
    after = scale_archive.times(rates, load)
    assert scale_archive._bottleneck(before) == "data, read and written"
    assert scale_archive._bottleneck(after) != "data, read and written"
    assert scale_archive.wall(after) < scale_archive.wall(before)
