"""What a perfect pose head would say about the objects of a random world."""

from dataclasses import replace

import numpy as np
import torch

from diffusion_det.pose.pose_head import RawPose
from tests.factories.roadside_objects import PRIORS, World


def perfect_rows(world: World, log_std: float = -2.0, quality: float = 2.0) -> torch.Tensor:
    """(P, R) outputs of the pose tower from which every branch decodes the true boxes; numpy alone, object by object.

    Where there is no ground the outputs of "plane" and "height" are noise.
    """
    rows = []
    for camera, row, box, kind in zip(
        world.camera_list, world.boxes3d, world.boxes_xyxy.double().numpy(), world.classes
    ):
        location, dims, ry = row[:3], row[3:6], row[6]
        up = -camera.ground_rotation()[:, 1]
        wh = box[2:] - box[:2]
        foot, middle = np.array([(box[0] + box[2]) / 2, box[3]]), (box[:2] + box[2:]) / 2
        pixel, z = camera.project(location)
        pixel_middle, _ = camera.project(location + up * dims[0] / 2)
        prior = PRIORS[kind].double().numpy()
        direct = np.log(z / (camera.P[1, 1] * prior[0] / wh[1]))
        plane, height = 0.7, -0.4
        if camera.ground is not None:
            on_ground = camera.intersect_plane(pixel)
            plane = np.log(z / camera.project(on_ground)[1])
            above = (location + up * dims[0] / 2) @ camera.ground[:3] + camera.ground[3]
            height = np.log(above / (prior[0] / 2))
        # Heading against the ray, in the ground's axes.
        ray = camera.ground_rotation().T @ (location - camera.center)
        alpha = (ry - np.arctan2(ray[0], ray[2])) % (2 * np.pi)
        width = 2 * np.pi / 12
        best = int(np.round(alpha / width))
        bins, residuals = np.full(12, -1.0), np.full(12, 0.3)
        bins[best % 12], residuals[best % 12] = 4.0, (alpha - best * width) / (width / 2)
        sizes = np.full((len(PRIORS), 3), 0.2)
        sizes[kind] = np.log(dims / prior)
        parts = [(pixel - foot) / wh, (pixel_middle - middle) / wh, [direct, plane, height], [log_std] * 3]
        rows.append(np.concatenate([*parts, sizes.ravel(), bins, residuals, [quality]]))
    return torch.tensor(np.array(rows), dtype=torch.float32)


def mirrored_raw(raw: RawPose) -> RawPose:
    """What the head would say about the mirrored objects: alpha becomes pi - alpha, bin k becomes 6 - k."""
    flip = torch.tensor([-1.0, 1.0])
    order = (6 - torch.arange(12)) % 12
    return replace(
        raw, bottom=raw.bottom * flip, center=raw.center * flip, bins=raw.bins[:, order],
        residuals=-raw.residuals[:, order],
    )  # fmt: skip
