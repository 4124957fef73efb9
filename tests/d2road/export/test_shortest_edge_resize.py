"""Resizing by the shortest edge inside a graph: Detectron2 and Pillow are the oracles, digit for digit."""

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge

from d2road.export.shortest_edge_resize import ShortestEdgeResize, shortest_edge_size


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
    found = ShortestEdgeResize(64, 100)(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), expected)


def test_zero_leaves_an_image_as_it_is():
    image = torch.arange(24, dtype=torch.uint8).view(1, 3, 2, 4)
    assert torch.equal(ShortestEdgeResize(0, 100)(image), image.float())
