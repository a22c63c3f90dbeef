"""Stacks of dithers: on their place, without what DQ marks, cut to the overlaps."""

import numpy as np
import pytest

from tests.products.images import make_model
from webbalign.core.errors import InputError
from webbalign.products._dither_alignment import align_layers
from webbalign.products.corrector import image_plane
from webbalign.products.image_files import read_info
from webbalign.products.stacks import Box, Stacking, boxes_of_overlap, stack_grid, stack_images

SKY = (214.93, 52.96)


def model_at(sky, seed=0, stars=None, exposure="00001", level=0.0, noise=0.01):
    """An image that shows Gaussian stars at places on the sky (n, 2), degrees."""
    model = make_model(sky=sky, exposure=exposure)
    model.meta.filename = f"image{exposure}_cal.fits"
    rng = np.random.default_rng(seed)
    y, x = np.indices(model.data.shape)
    data = level + rng.normal(0, noise, model.data.shape)
    info = read_info(model)
    plane = image_plane(info.wcs, info.wcsinfo, info.shape)
    for a, b in plane.to_pixels(plane.plane.from_sky(stars)):
        data += 10.0 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 1.5**2))
    model.data = data.astype(np.float32)
    model.dq = np.zeros(model.data.shape, np.uint32)
    return model


def stars():
    place = read_info(make_model(sky=SKY))
    plane = image_plane(place.wcs, place.wcsinfo, place.shape)
    return plane.to_sky(np.array([[30.3, 25.6], [48.8, 41.2], [25.1, 44.7], [52.2, 20.4]]))


def dithers():
    step = 3e-5
    places = [(SKY[0] + a * step, SKY[1] + b * step) for a, b in ((0, 0), (3, 1), (-2, 2))]
    return [
        model_at(sky, k, stars(), f"{k + 1:05d}", level=5.0 * k) for k, sky in enumerate(places)
    ]


@pytest.mark.parametrize("function", ["interp", "exact", "adaptive"])
def test_stars_lie_where_the_grid_says(function):
    models = dithers()
    options = Stacking(reproject_func=function)
    grid = stack_grid([read_info(m) for m in models], options)
    stack = stack_images("visit", models, grid, options)
    assert stack.weight.max() == 3
    xy = grid.from_plane(grid.plane.from_sky(stars()))
    for x, y in xy - np.array(stack.origin[::-1]):
        rows, columns = (slice(round(v) - 5, round(v) + 6) for v in (y, x))
        cut = stack.data[rows, columns] - np.nanmedian(stack.data)
        yy, xx = np.indices(cut.shape)
        centre = np.array([(cut * xx).sum(), (cut * yy).sum()]) / cut.sum()
        np.testing.assert_allclose(centre, [x - columns.start, y - rows.start], atol=0.04)


def test_backgrounds_are_matched():
    models = dithers()
    grid = stack_grid([read_info(m) for m in models])
    stack = stack_images("visit", models, grid)
    flat = stack.data[np.isfinite(stack.data) & (stack.data < np.nanmedian(stack.data) + 1)]
    # the levels differ by 5
    assert flat.std() < 0.1


@pytest.mark.parametrize("bit", [0, 1, 9, 31])
def test_all_bits_of_dq_are_honoured(bit):
    model = model_at(SKY, 1, stars())
    model.data[20:40, 20:40] = 1e4
    dq = np.zeros(model.data.shape, np.uint32)
    dq[20:40, 20:40] = np.uint32(1) << np.uint32(bit)
    model.dq = dq
    grid = stack_grid([read_info(model)])
    stack = stack_images("v", [model], grid, Stacking(stack_bad_bits=str(1 << bit)))
    assert np.nanmax(stack.data) < 100
    kept = stack_images("v", [model], grid, Stacking(stack_bad_bits=""))
    assert np.nanmax(kept.data) > 5000


def test_what_one_dither_shows_alone_is_left_out():
    models = dithers()
    clean = stack_images("v", models, (grid := stack_grid([read_info(m) for m in models])))
    models[1].data[30, 35] += 500.0
    hit = stack_images("v", models, grid)
    assert np.nanmax(np.abs(hit.data - clean.data)) < 0.5


def test_a_stack_does_not_depend_on_the_order():
    models = dithers()
    infos = [read_info(m) for m in models]
    one, two = stack_grid(infos), stack_grid(infos[::-1])
    np.testing.assert_array_equal(one.plane.axes, two.plane.axes)
    first, second = stack_images("v", models, one), stack_images("v", models[::-1], two)
    np.testing.assert_array_equal(first.data, second.data)


def test_stacks_are_cut_to_what_others_see():
    models = dithers()
    far = model_at((SKY[0] + 0.5, SKY[1]), 9, stars())
    groups = {"a": models[:1], "b": models[1:], "c": [far]}
    infos = {name: [read_info(m) for m in group] for name, group in groups.items()}
    grid = stack_grid([i for group in infos.values() for i in group])
    boxes = boxes_of_overlap(grid, infos, 3)
    assert boxes["a"]
    assert not boxes["c"]
    whole = grid.box_of(infos["a"][0])
    assert boxes["a"].common(whole) == boxes["a"]
    stack = stack_images("a", groups["a"], grid, box=boxes["a"])
    full = stack_images("a", groups["a"], grid)
    y, x = (stack.origin[k] - full.origin[k] for k in range(2))
    part = full.data[y : y + stack.data.shape[0], x : x + stack.data.shape[1]]
    np.testing.assert_allclose(stack.data, part, atol=1e-4)
    assert stack_images("c", groups["c"], grid, box=boxes["c"]).data.size == 0


def test_without_a_good_pixel_nothing_is_left():
    model = model_at(SKY, 1, stars())
    model.data = np.full(model.data.shape, np.nan, np.float32)
    stack = stack_images("v", [model], stack_grid([read_info(model)]))
    assert not np.isfinite(stack.data).any()
    assert not stack.weight.any()


def test_no_images():
    with pytest.raises(InputError, match="no images"):
        stack_grid([])
    grid = stack_grid([read_info(make_model())])
    with pytest.raises(InputError, match="no images to stack"):
        stack_images("v", [], grid)


def test_jitter_is_taken_back():
    rng = np.random.default_rng(2)
    y, x = np.indices((150, 150)).astype(float)
    places = rng.uniform(0, 150, (60, 2))
    jitter = np.array([[0.04, -0.03], [-0.05, 0.02], [0.02, 0.03]])
    layers = []
    for dx, dy in jitter:
        image = rng.normal(0, 0.02, x.shape)
        for a, b in places:
            image += 5 * np.exp(-((x - a - dx) ** 2 + (y - b - dy) ** 2) / (2 * 1.3**2))
        layers.append(image)
    moved = align_layers(np.stack(layers).astype(np.float32)).shifts
    np.testing.assert_allclose(moved, jitter - jitter.mean(axis=0), atol=3e-3)


def test_boxes():
    one, two = Box(0, 10, -5, 5), Box(4, 20, 0, 9)
    assert one.common(two) == Box(4, 10, 0, 5)
    assert one.joined(two) == Box(0, 20, -5, 9)
    assert one.grown(2).shape == (14, 14)
    assert not one.common(Box(50, 60, 0, 5))
