"""Networks that read 3D pose off the decoder: one tower a stage for the boxes, one for the ground plane of the image.

They predict raw values; `pose_decoding.py` turns them into metres.

Letters: B images, N boxes, C channels, K classes, P rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures.camera_batch import Cameras, Grounds
from d2road.structures.headings import NUM_BINS
from d2road.structures.tensor_record import TensorRecord
from diffusion_det.head import tower

BRANCHES = ("direct", "plane", "height")
GEOMETRY_SIZE = 6
# Bounds of a predicted log deviation: from 0.3 % to 3 times.
LOG_STD_RANGE = (-6.0, 1.0)


@dataclass
class RawPose(TensorRecord):
    """Raw outputs of the pose tower for P boxes, before they mean anything in metres.

    bottom, center (P, 2): projected bottom and middle of the 3D box, offsets from the middle of the 2D box's lower edge
    and from its centre, in units of its sides. depth (P, 3): correction of the log depth by BRANCHES; for "height" of
    the log height of the middle above ground. log_std (P, 3): of the log depths. dims (P, K, 3): log-ratio of h, w, l
    to the class prior. bins, residuals (P, 12): heading, see `d2road.structures.headings`. quality (P,): logit.
    """

    bottom: Tensor
    center: Tensor
    depth: Tensor
    log_std: Tensor
    dims: Tensor
    bins: Tensor
    residuals: Tensor
    quality: Tensor

    @staticmethod
    def sizes(num_classes: int) -> list[int]:
        """Channels per field in the output of the tower."""
        return [2, 2, 3, 3, 3 * num_classes, NUM_BINS, NUM_BINS, 1]

    @staticmethod
    def unpack(rows: Tensor, num_classes: int) -> "RawPose":
        """(P, sum of sizes) -> fields."""
        bottom, center, depth, log_std, dims, bins, residuals, quality = rows.split(RawPose.sizes(num_classes), dim=-1)
        return RawPose(
            bottom, center, depth, log_std.clamp(*LOG_STD_RANGE), dims.unflatten(-1, (num_classes, 3)), bins, residuals,
            quality[..., 0],
        )  # fmt: skip


def box_geometry(boxes_xyxy: Tensor, cameras: Cameras) -> Tensor:
    """Where the camera sees each box, which features pooled from it cannot tell.

    Args:
        boxes_xyxy: (P, 4) pixels, one camera each.
    Returns:
        (P, 6): normalised centre x, y and lower edge, log normalised width and height, log aspect.
    """
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    width, height = (x2 - x1).clamp(min=1), (y2 - y1).clamp(min=1)
    center = cameras.normalize(torch.stack([(x1 + x2) / 2, (y1 + y2) / 2], dim=-1))
    below = cameras.normalize(torch.stack([(x1 + x2) / 2, y2], dim=-1))[:, 1:]
    sizes = torch.stack([(width / cameras.K[:, 0, 0]).log(), (height / cameras.fy).log(), (width / height).log()], -1)
    return torch.cat([center, below, sizes], dim=-1)


class PoseHead(nn.Module):
    """A tower for each decoder stage: what the decoder knows of a box and its geometry in, a `RawPose` row out.

    The decoder's feature is made for class and box, which are the same from the front and from behind. So each stage
    also looks at the pooled map itself, where lamps are lamps (`embed`).

    Args:
        num_stages: S.
        dim: C.
        num_pose: layers of a tower.
        pooled_size: numbers of a box's pooled map, P * P * C; 0 leaves it out.
    """

    def __init__(self, *, num_stages: int, num_classes: int, dim: int, num_pose: int = 2, pooled_size: int = 0):
        super().__init__()
        self.num_classes, self.num_stages = num_classes, num_stages
        self.pooled_proj: nn.ModuleList | None = (
            nn.ModuleList(
                nn.Sequential(nn.Linear(pooled_size, dim), nn.LayerNorm(dim), nn.ReLU()) for _ in range(num_stages)
            )
            if pooled_size
            else None
        )
        self.geometry = nn.ModuleList(nn.Linear(GEOMETRY_SIZE, dim) for _ in range(num_stages))
        self.towers = nn.ModuleList(tower(dim, num_pose) for _ in range(num_stages))
        outputs = [nn.Linear(dim, sum(RawPose.sizes(num_classes))) for _ in range(num_stages)]
        self.outputs = nn.ModuleList(outputs)
        for layer in outputs:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
            # Depth starts at a deviation of e^-1.5, 20 %: no branch dominates before it has learned.
            layer.bias.data[7:10] = -1.5

    def embed(self, feature: Tensor, pooled: Tensor | None, stage: int) -> Tensor:
        """What pose is read from: the decoder's features (..., C) and pooled maps (..., P * P * C) -> (..., C)."""
        return feature if self.pooled_proj is None else feature + self.pooled_proj[stage](pooled)

    def forward(self, feature: Tensor, boxes_xyxy: Tensor, cameras: Cameras, stage: int) -> Tensor:
        """Embedded feature (P, C), boxes (P, 4) pixels, one camera a row -> (P, R) rows for `RawPose.unpack`."""
        geometry = self.geometry[stage](box_geometry(boxes_xyxy.float(), cameras).to(feature.dtype))
        return self.outputs[stage](self.towers[stage](feature + geometry)).float()


class GroundHead(nn.Module):
    """Predicts the ground plane from the image: height of the horizon, its slope, height of the camera.

    Works in the pixels of the network input, so that focal length and principal point enter exactly.

    Args:
        dim: channels of the coarsest pyramid map, the only one that it sees.
        stride: of that map.
        grid: rows and columns to which the map is averaged.
    """

    def __init__(self, dim: int, stride: int, grid: tuple[int, int] = (6, 8), width: int = 128):
        super().__init__()
        self.stride, self.grid = stride, grid
        self.squeeze = nn.Conv2d(dim, 24, 1)
        self.hidden = nn.Linear(24 * grid[0] * grid[1], width)
        self.output = nn.Linear(width, 6)
        nn.init.normal_(self.output.weight, std=0.01)
        # Starts at a level horizon through the middle, 6 m, deviations of 0.3 of the image height and of log height.
        self.output.bias.data = torch.tensor([0.0, 0.0, 1.8, -1.2, -2.5, -1.2])

    def forward(self, feature: Tensor, image_sizes: Sequence[tuple[int, int]], cameras: Cameras) -> Grounds:
        """feature (B, C, H/stride, W/stride), sizes (height, width) of the unpadded images -> planes with variance."""
        x = F.relu(self.squeeze(feature))
        pooled = torch.stack(  # image by image: padding must have no say
            [F.adaptive_avg_pool2d(m[:, : -(-h // self.stride), : -(-w // self.stride)], self.grid) for m, (h, w) in
             zip(x, image_sizes)]
        )  # fmt: skip
        mean, log_std = self.output(F.relu(self.hidden(pooled.flatten(1)))).float().chunk(2, dim=-1)
        size = torch.tensor(image_sizes, dtype=torch.float32, device=feature.device)  # (B, 2)
        height, width = size.unbind(-1)
        std = log_std.clamp(-7.0, 1.0).exp()
        # v = v_mid + slope (u - width / 2) in pixels, then through K.
        v_mid, slope = (mean[:, 0] + 0.5) * height, mean[:, 1]
        fx, fy, cx, cy = cameras.K[:, 0, 0], cameras.fy, cameras.K[:, 0, 2], cameras.K[:, 1, 2]
        s0 = (v_mid + slope * (cx - width / 2) - cy) / fy
        s1 = slope * fx / fy
        std_s0, std_s1 = std[:, 0] * height / fy, std[:, 1] * fx / fy
        mean = torch.stack([s0, s1, mean[:, 2]], dim=-1)
        var = torch.stack([std_s0, std_s1, std[:, 2]], dim=-1).square()
        return Grounds(mean, var, torch.ones(len(mean), dtype=torch.bool, device=feature.device))
