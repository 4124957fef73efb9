"""Patch embedding against torch's own modules in the order of anomalib, and against a neighbourhood worked off."""

import torch
import torch.nn.functional as F
from torch import nn

from efficientad.modeling.patch_embedding import cells, embed_patches


def test_embeddings_are_those_of_average_pools_enlarged_to_the_first_grid():
    fine, coarse = torch.randn(2, 5, 8, 6), torch.randn(2, 7, 4, 3)
    pool = nn.AvgPool2d(3, 1, 1)
    expected = torch.cat([pool(fine), F.interpolate(pool(coarse), size=(8, 6), mode="bilinear")], dim=1)
    assert torch.equal(embed_patches([fine, coarse]), expected)


def test_zeros_beyond_the_border_count_as_cells():
    ones = torch.ones(1, 1, 4, 4)
    found = embed_patches([ones], 3)[0, 0]
    assert torch.allclose(found[0, 0], torch.tensor(4 / 9)) and torch.allclose(found[0, 1], torch.tensor(6 / 9))
    assert torch.allclose(found[1:3, 1:3], torch.ones(2, 2))
    assert torch.equal(embed_patches([ones], 1), ones)


def test_cells_come_row_by_row():
    embedding = torch.arange(12.0).view(2, 2, 3)
    assert cells(embedding).tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]
