"""Teacher, student and autoencoder together: losses in training, raw maps in testing. No config, no image files.

Letters: B images, C feature channels, H x W pixels, h x w cells of a map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.losses import feature_loss, penalty_loss, student_teacher_loss
from efficientad.modeling.error_whitening import mahalanobis_map
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

    Without an autoencoder the teacher takes its place, and the student's only half both halves': both maps are one.
    """

    teacher: Tensor
    student: Tensor
    student_autoencoder: Tensor
    autoencoder: Tensor


class Networks(nn.Module):
    """Teacher, student with two halves, autoencoder.

    Args:
        teacher: never trains, always in eval mode.
        student: with twice the teacher's channels, or as many without an autoencoder; it and the autoencoder see images
            shrunk by `teacher.shrink`.
        autoencoder: called as `autoencoder(images, map_size)`; None for none.
        hard_quantile: see `losses.hard_feature_loss`.
        mahalanobis: whether the student-teacher map is of Mahalanobis distances instead of mean squares.

    Buffers (saved with the weights): teacher_mean, teacher_std (C,): of the teacher's channels over the training
    images; with `mahalanobis` also whitening (C, C): of the student's errors, see `error_whitening`.
    """

    teacher_mean: Tensor
    teacher_std: Tensor
    whitening: Tensor | None

    def __init__(
        self,
        teacher: PDN | ExtractorTeacher,
        student: PDN | UNetStudent,
        autoencoder: nn.Module | None,
        hard_quantile: float = 0.999,
        mahalanobis: bool = False,
    ):
        super().__init__()
        halves = 1 if autoencoder is None else 2
        if student.out_channels != halves * teacher.out_channels or student.padding != teacher.padding:
            raise ValueError(
                f"the student has {student.out_channels} channels, expected {halves} times the teacher's "
                f"{teacher.out_channels}, and pads if the teacher does"
            )
        self.teacher, self.student, self.autoencoder = teacher.requires_grad_(False), student, autoencoder
        self.hard_quantile, self.channels = hard_quantile, teacher.out_channels
        self.border = 0 if teacher.padding else BORDER
        self.register_buffer("teacher_mean", torch.zeros(self.channels))
        self.register_buffer("teacher_std", torch.ones(self.channels))
        self.register_buffer("whitening", torch.eye(self.channels) if mahalanobis else None)
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
        with torch.autocast(images.device.type, enabled=False):  # what is kept is not to be rounded
            features = [self.teacher.recurring(images), *map(self.teacher, jittered)]
        return self.normalise(torch.cat(features))

    def losses(self, images: Tensor, images_ae: Tensor, penalty: Tensor | None = None) -> dict[str, Tensor]:
        """The four terms, which are summed unweighted; without an autoencoder the first two.

        Each half of the student is computed only for the images that its loss needs.

        Args:
            images: (B, 3, H, W), normalised, for the student.
            images_ae: jittered ones for the autoencoder and the other half of the student, or the very same tensor.
            penalty: (P, 3, H, W) images of other things, or None.
        """
        count, channels = len(images), self.channels
        jittered = [] if images_ae is images or self.autoencoder is None else [images_ae]
        targets = self.training_targets(images, jittered)
        teacher, teacher_ae = targets[:count], targets[-count:]
        extra = [] if penalty is None else [penalty]
        bodies = self.student.body(self.shrunk(torch.cat([images, *extra, *jittered])))
        bodies, bodies_ae = (bodies[:-count], bodies[-count:]) if jittered else (bodies, bodies[:count])
        student = self.student.last(bodies, slice(0, channels))
        losses = {"loss_hard": student_teacher_loss(teacher, student[:count], self.hard_quantile)}
        if penalty is not None:
            losses["loss_penalty"] = penalty_loss(student[count:])
        if self.autoencoder is None:
            return losses
        student_ae = self.student.last(bodies_ae, slice(channels, 2 * channels))
        autoencoder_output = self.autoencoder(self.shrunk(images_ae), teacher_ae.shape[-2:])
        losses["loss_autoencoder"] = feature_loss(teacher_ae, autoencoder_output)
        losses["loss_student_autoencoder"] = feature_loss(autoencoder_output, student_ae)
        return losses

    def features(self, images: Tensor, teacher: Tensor | None = None) -> Features:
        """All features of normalised images (B, 3, H, W); those of the teacher (B, C, h, w) may be there already."""
        small = self.shrunk(images)
        student = self.student(small)
        target = self.teacher_features(images) if teacher is None else self.normalise(teacher)
        if self.autoencoder is None:
            return Features(target, student, student, target)
        autoencoder_output = self.autoencoder(small, self.teacher.map_size(images))
        return Features(
            target,
            student[:, : self.channels],
            student[:, self.channels :],
            autoencoder_output,
        )

    def raw_maps(self, images: Tensor) -> Tensor:
        """Squared differences (B, 2, h, w) of normalised images: student and teacher, student and autoencoder."""
        return self.maps_of(self.features(images))

    def maps_of(self, features: Features) -> Tensor:
        """Maps (B, 2, h, w) of features: mean squares of their differences, those of the student by `whitening`.

        The autoencoder's map keeps mean squares, by which it was better on pasted defects.
        """
        if self.whitening is None:
            return difference_maps(features)
        student = mahalanobis_map(student_errors(features), self.whitening)
        return torch.stack([student, student if self.autoencoder is None else autoencoder_map(features)], dim=1)


def student_errors(features: Features) -> Tensor:
    """The student's errors (B, C, h, w) in float32: teacher less student."""
    return features.teacher.float() - features.student.float()


def autoencoder_map(features: Features) -> Tensor:
    """Mean squared differences (B, h, w) of student and autoencoder."""
    return (features.autoencoder.float() - features.student_autoencoder.float()).square().mean(1)


def difference_maps(features: Features) -> Tensor:
    """Mean squared differences (B, 2, h, w): student and teacher, student and autoencoder."""
    return torch.stack([student_errors(features).square().mean(1), autoencoder_map(features)], dim=1)
