"""EfficientAD as its published layers, called plainly: what the fast implementation is measured against, and equals.

Layers in an nn.Sequential, channels first; teacher and student each take the image, the teacher is normalised
afterwards; in training three passes of the student, the whole of it each time, and torch.quantile over all distances.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.checkpoint.weight_names import NELSON_AUTOENCODER
from efficientad.detector import EfficientAD
from efficientad.modeling.pdn import BORDER, LAYERS, NELSON_INDICES

DECODER_SIZES = (3, 8, 15, 32, 63, 127)  # of images of 256 pixels
MAP_SIZE = 56
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 1e-5


def plain_pdn(size: str, out_channels: int) -> nn.Sequential:
    """A patch description network without padding."""
    layers, channels = [], 3
    for kernel, _, width, relu, pool in LAYERS[size]:
        layers.append(nn.Conv2d(channels, width or out_channels, kernel))
        layers += [nn.ReLU()] if relu else []
        layers += [nn.AvgPool2d(2, 2)] if pool else []
        channels = width or out_channels
    return nn.Sequential(*layers)


def plain_autoencoder(out_channels: int) -> nn.Sequential:
    """The published autoencoder, for images of 256 x 256 pixels."""
    layers, channels = [], 3
    for width in (32, 32, 64, 64, 64):
        layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.ReLU()]
        channels = width
    layers.append(nn.Conv2d(64, 64, 8))
    for side in DECODER_SIZES:
        layers += [nn.Upsample(side, mode="bilinear"), nn.Conv2d(64, 64, 4, 1, 2), nn.ReLU(), nn.Dropout(0.2)]
    layers += [nn.Upsample(MAP_SIZE, mode="bilinear"), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, out_channels, 3, 1, 1))


class PlainEfficientAD(nn.Module):
    """The published method over the weights of a detector.

    Args:
        model: with the convolutional autoencoder, unpadded, calibrated in the order of nelson1425; its weights are
            copied.
    """

    def __init__(self, model: EfficientAD):
        super().__init__()
        networks = model.networks
        self.channels = networks.channels
        size = networks.teacher.size
        self.teacher = _filled(plain_pdn(size, self.channels), networks.teacher, _pdn_places(size))
        self.student = _filled(plain_pdn(size, 2 * self.channels), networks.student, _pdn_places(size))
        self.autoencoder = _filled(plain_autoencoder(self.channels), networks.autoencoder, NELSON_AUTOENCODER)
        self.teacher.requires_grad_(False)
        self.mean, self.std = model.pixel_mean[None].clone(), model.pixel_std[None].clone()
        self.teacher_mean = networks.teacher_mean.view(1, -1, 1, 1).clone()
        self.teacher_std = networks.teacher_std.view(1, -1, 1, 1).clone()
        self.quantiles = model.state.map_quantiles.clone()

    def normalised_teacher(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return (self.teacher(images) - self.teacher_mean) / self.teacher_std

    @torch.no_grad()
    def forward(self, images: list[Tensor]) -> list[tuple[Tensor, float]]:
        """Anomaly map (H, W) and score of images (3, H, W) in 0..255."""
        images = (torch.stack(images) - self.mean) / self.std
        teacher, student = self.normalised_teacher(images), self.student(images)
        autoencoder_output = self.autoencoder(images)
        pairs = (teacher, student[:, : self.channels]), (autoencoder_output, student[:, self.channels :])
        maps = [((one - other) ** 2).mean(1, keepdim=True) for one, other in pairs]
        maps = [0.1 * (one - start) / (end - start) for one, (start, end) in zip(maps, self.quantiles)]
        combined = F.pad(0.5 * maps[0] + 0.5 * maps[1], (BORDER,) * 4)
        combined = F.interpolate(combined, images[0].shape[-2:], mode="bilinear")
        return [(one[0], one.max().item()) for one in combined]

    def loss(self, image: Tensor, image_ae: Tensor, penalty: Tensor | None = None) -> Tensor:
        """The loss of a training step, of normalised images (1, 3, H, W)."""
        distance = (self.normalised_teacher(image) - self.student(image)[:, : self.channels]) ** 2
        hard = torch.quantile(distance, 0.999)
        loss = distance[distance >= hard].mean()
        if penalty is not None:
            loss = loss + (self.student(penalty)[:, : self.channels] ** 2).mean()
        autoencoder_output = self.autoencoder(image_ae)
        teacher, student = self.normalised_teacher(image_ae), self.student(image_ae)[:, self.channels :]
        return loss + ((teacher - autoencoder_output) ** 2).mean() + ((autoencoder_output - student) ** 2).mean()

    def optimizer(self) -> torch.optim.Optimizer:
        """Of the published loop."""
        trained = [*self.student.parameters(), *self.autoencoder.parameters()]
        return torch.optim.Adam(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def _pdn_places(size: str) -> dict[int, str]:
    return {index: f"conv{number}" for number, index in enumerate(NELSON_INDICES[size], 1)}


def _filled(plain: nn.Sequential, ours: nn.Module, places: dict[int, str]) -> nn.Sequential:
    """Layers with the weights that ours have under other names."""
    state = ours.state_dict()
    named = {f"{i}.{leaf}": state[f"{name}.{leaf}"] for i, name in places.items() for leaf in ("weight", "bias")}
    plain.load_state_dict({name: value.clone().contiguous() for name, value in named.items()})
    return plain
