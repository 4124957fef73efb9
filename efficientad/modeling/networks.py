"""Teacher, student and autoencoder together: losses in training, raw maps in testing. No config, no image files.

Letters: B images, C feature channels, H x W pixels, h x w cells of a map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.losses import feature_loss, penalty_loss, student_teacher_loss
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.modeling.pdn import BORDER, PDN
from efficientad.modeling.unet_student import UNetStudent


@dataclass
class Features:
    """Features that teacher, student and autoencoder give of the same images; (B, C, h, w) each.

    Attributes:
        teacher: normalised by the teacher's statistics.
        student, student_autoencoder: the student's halves, which follow teacher and autoencoder.
        autoencoder: the autoencoder's output, which is to be the teacher's.
    """

    teacher: Tensor
    student: Tensor
    student_autoencoder: Tensor
    autoencoder: Tensor


class Networks(nn.Module):
    """Teacher, student with two halves, autoencoder.

    Args:
        teacher: never trains, always in eval mode.
        student: with twice the teacher's channels; it and the autoencoder see images shrunk by `teacher.shrink`.
        autoencoder: called as `autoencoder(images, map_size)`.
        hard_quantile: see `losses.hard_feature_loss`.

    Buffers (saved with the weights): teacher_mean, teacher_std (C,): of the teacher's channels over the training
    images.
    """

    teacher_mean: Tensor
    teacher_std: Tensor

    def __init__(
        self,
        teacher: PDN | ExtractorTeacher,
        student: PDN | UNetStudent,
        autoencoder: nn.Module,
        hard_quantile: float = 0.999,
    ):
        super().__init__()
        if student.out_channels != 2 * teacher.out_channels or student.padding != teacher.padding:
            raise ValueError("the student has twice the teacher's channels, and pads if the teacher does")
        self.teacher, self.student, self.autoencoder = teacher.requires_grad_(False), student, autoencoder
        self.hard_quantile, self.channels = hard_quantile, teacher.out_channels
        self.border = 0 if teacher.padding else BORDER
        self.register_buffer("teacher_mean", torch.zeros(self.channels))
        self.register_buffer("teacher_std", torch.ones(self.channels))
        self.train(self.training)

    def train(self, mode: bool = True) -> "Networks":
        """Switch student and autoencoder; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def shrunk(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) as student and autoencoder see them."""
        shrink = self.teacher.shrink
        # No zeros count where a side is not a multiple.
        return images if shrink == 1 else F.avg_pool2d(images, shrink, ceil_mode=True, count_include_pad=False)

    @torch.no_grad()
    def teacher_features(self, images: Tensor) -> Tensor:
        """Normalised teacher features of normalised images (B, 3, H, W)."""
        return self.normalise(self.teacher(images))

    def normalise(self, features: Tensor) -> Tensor:
        """The teacher's features (B, C, h, w) by their mean and deviation on good images."""
        return (features - self.teacher_mean.view(-1, 1, 1)) / self.teacher_std.view(-1, 1, 1)

    @torch.no_grad()
    def training_targets(self, images: Tensor, jittered: list[Tensor]) -> Tensor:
        """Normalised teacher features of training images, which come again, and of jittered ones, in that order."""
        if isinstance(self.teacher, PDN):
            return self.teacher_features(torch.cat([images, *jittered]))
        return self.normalise(torch.cat([self.teacher.recurring(images), *map(self.teacher, jittered)]))

    def losses(self, images: Tensor, images_ae: Tensor, penalty: Tensor | None = None) -> dict[str, Tensor]:
        """The four terms, which are summed unweighted.

        Each half of the student is computed only for the images that its loss needs.

        Args:
            images: (B, 3, H, W), normalised, for the student.
            images_ae: jittered ones for the autoencoder and the other half of the student, or the very same tensor.
            penalty: (P, 3, H, W) images of other things, or None.
        """
        count, channels = len(images), self.channels
        jittered = [] if images_ae is images else [images_ae]
        targets = self.training_targets(images, jittered)
        teacher, teacher_ae = targets[:count], targets[-count:]
        extra = [] if penalty is None else [penalty]
        bodies = self.student.body(self.shrunk(torch.cat([images, *extra, *jittered])))
        bodies, bodies_ae = (bodies[:-count], bodies[-count:]) if jittered else (bodies, bodies[:count])
        student = self.student.last(bodies, slice(0, channels))
        student_ae = self.student.last(bodies_ae, slice(channels, 2 * channels))
        autoencoder_output = self.autoencoder(self.shrunk(images_ae), teacher_ae.shape[-2:])
        losses = {"loss_hard": student_teacher_loss(teacher, student[:count], self.hard_quantile)}
        if penalty is not None:
            losses["loss_penalty"] = penalty_loss(student[count:])
        losses["loss_autoencoder"] = feature_loss(teacher_ae, autoencoder_output)
        losses["loss_student_autoencoder"] = feature_loss(autoencoder_output, student_ae)
        return losses

    def features(self, images: Tensor, teacher: Tensor | None = None) -> Features:
        """All features of normalised images (B, 3, H, W); those of the teacher (B, C, h, w) may be there already."""
        small = self.shrunk(images)
        student = self.student(small)
        autoencoder_output = self.autoencoder(small, self.teacher.map_size(images))
        return Features(
            self.teacher_features(images) if teacher is None else self.normalise(teacher),
            student[:, : self.channels],
            student[:, self.channels :],
            autoencoder_output,
        )

    def raw_maps(self, images: Tensor) -> Tensor:
        """Squared differences (B, 2, h, w) of normalised images: student and teacher, student and autoencoder."""
        return difference_maps(self.features(images))


def difference_maps(features: Features) -> Tensor:
    """Mean squared differences (B, 2, h, w): student and teacher, student and autoencoder."""
    student_teacher = (features.teacher.float() - features.student.float()).square().mean(1)
    autoencoder = (features.autoencoder.float() - features.student_autoencoder.float()).square().mean(1)
    return torch.stack([student_teacher, autoencoder], dim=1)
