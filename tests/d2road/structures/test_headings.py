"""Headings as bins and back; directions over the ground."""

import numpy as np
import pytest
import torch

from d2road.structures import Camera
from d2road.structures.headings import azimuth, decode_heading, encode_heading


def test_heading_round_trip():
    alpha = torch.linspace(-12.0, 12.0, 4001)
    bins, residual = encode_heading(alpha)
    assert bins.min() == 0 and bins.max() == 11
    assert residual.abs().max() <= 1 + 1e-4
    logits = torch.nn.functional.one_hot(bins, 12).float()
    error = decode_heading(logits, residual[:, None].expand(-1, 12)) - alpha
    assert torch.remainder(error + torch.pi, 2 * torch.pi).sub(torch.pi).abs().max() < 1e-5
    assert encode_heading(torch.tensor([0.0, torch.pi / 2, -torch.pi / 2, torch.pi]))[0].tolist() == [0, 3, 9, 6]


def test_azimuth_is_zero_ahead_and_positive_right():
    """Of a tilted camera: directions are measured on the ground."""
    camera = Camera(np.array([[1000.0, 0, 500], [0, 900, 300], [0, 0, 1]]), [0.02, -0.97, -0.24, 7.0])
    frame = camera.ground_rotation()
    for degrees in (-30, 0, 40):
        a = np.radians(degrees)
        point = frame @ np.array([30 * np.sin(a), 7.0, 30 * np.cos(a)])
        found = azimuth(torch.tensor((point[:2] / point[2])[None]), torch.tensor(frame[None]))
        assert found.item() == pytest.approx(a, abs=1e-9)
