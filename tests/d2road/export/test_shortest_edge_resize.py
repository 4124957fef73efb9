"""Resizing by the shortest edge inside a graph: Detectron2 and Pillow are the oracles, digit for digit."""

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import ImageList

from d2road.export.antialiased_resize import pillow_orders_axes
from d2road.export.shortest_edge_resize import ShortestEdgeResize, normalize_padded, shortest_edge_size


@pytest.mark.parametrize(("shortest", "longest"), [(252, 448), (800, 1333), (96, 4000)])
def test_sizes_are_those_of_detectron2(shortest, longest):
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(1, 3000, (300, 2)).tolist(), (540, 960), (960, 540), (600, 600), (11, 128), (1, 2999)]
    for height, width in sizes:
        found = tuple(int(side) for side in shortest_edge_size(*map(torch.tensor, (height, width)), shortest, longest))
        assert found == ResizeShortestEdge.get_output_shape(height, width, shortest, longest), (height, width)


@pytest.mark.parametrize(
    ("height", "width"), [(108, 192), (77, 41), (30, 300), (20, 25), (64, 64), (300, 30), (200, 90), (140, 64)]
)
def test_pixels_are_those_of_pillow(height, width):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = ResizeShortestEdge([64, 64], 100).get_transform(image).apply_image(image)
    found, size_hw = ShortestEdgeResize(64, 100, pillow_orders_axes())(given(image))
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), expected)
    assert tuple(size_hw.tolist()) == expected.shape[:2]


def test_zero_leaves_an_image_as_it_is():
    image = torch.arange(24, dtype=torch.uint8).view(1, 3, 2, 4)
    found, size_hw = ShortestEdgeResize(0, 100)(image)
    assert torch.equal(found, image.float()) and size_hw.tolist() == [2, 4]


@pytest.mark.parametrize("shortest", [64, 0])
def test_sides_are_filled_up_to_a_divisor_with_what_a_network_takes_for_nothing(shortest):
    """As ImageList of Detectron2 pads an image that is normalised: by zeros, to the right and below."""
    image = np.random.default_rng(0).integers(0, 256, (77, 41, 3), dtype=np.uint8)
    mean, std = torch.tensor([100.0, 110, 120]).view(3, 1, 1), torch.tensor([50.0, 60, 70]).view(3, 1, 1)
    resized = ResizeShortestEdge([shortest] * 2, 100).get_transform(image).apply_image(image)
    expected = ImageList.from_tensors([(given(resized)[0] - mean) / std], 32).tensor
    pixels, size_hw = ShortestEdgeResize(shortest, 100, pillow_orders_axes(), divisor=32)(given(image))
    found = normalize_padded(pixels, size_hw, mean, std)
    assert expected.shape[-1] > resized.shape[1] and torch.equal(found, expected)


def given(image):
    """(H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
