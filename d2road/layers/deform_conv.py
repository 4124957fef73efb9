"""Deformable convolution (v2) over torchvision's operator, which runs on a CPU as well."""

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class ModulatedDeformConv(nn.Module):
    """A convolution that reads each tap at a place, and with a weight in [0, 1], predicted from its input.

    At the start places are those of a plain convolution and all weights 1/2. Parameters are named as in DCNv2.

    Args:
        in_channels, out_channels, stride: as `nn.Conv2d`.
        kernel: side, odd; padded so that stride 1 keeps the size.
        bias: whether a bias is added.
    Source: Zhu et al., Deformable ConvNets v2, CVPR 2019, section 3.2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, bias: bool = True):
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.conv_offset_mask = nn.Conv2d(in_channels, 3 * kernel**2, kernel, stride, self.padding)
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out_channels, H / stride, W / stride); in float32 under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            taps = self.weight.shape[2] * self.weight.shape[3]
            offsets, mask = self.conv_offset_mask(x).split([2 * taps, taps], dim=1)
            return deform_conv2d(
                x, offsets, self.weight, self.bias, self.stride, self.padding, mask=mask.sigmoid()
            )  # fmt: skip
