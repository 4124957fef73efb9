"""Labelled objects as candidates, and the matching of candidates with labelled objects.

Letters: B images, K candidates an image (padded), C classes, M objects of an image, P objects of all images.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.boxes2d import iou_and_giou, with_area
from d2road.structures.camera_batch import SceneGeometry, upright_frame
from d2road.structures.depth_cues import view_boxes
from d2road.utils.uploads import upload
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.objects import Objects, cat_objects, pad_objects
from mono3dvg.language.kleene import YES

# Of attributes in training: a usual detector is wrong in one of fifteen and mostly not sure.
_SURE_LOGIT, _LOGIT_NOISE = 3.0, 2.0


def home_cells(objects: Objects, middle: Tensor, in_front: Tensor, map_hw: tuple[int, int], stride: float) -> Tensor:
    """The cell (P,) at which each object is predicted.

    That of the projected middle of its 3D box if the 2D box holds it; else (no 3D box, or cut by the border of the
    image so that the middle lies outside) that of the middle of the 2D box, which is seen.

    Args:
        middle: (P, 2) pixels, in_front: (P,) whether it means anything.
    """
    boxes = objects.boxes_xyxy
    inside = ((middle >= boxes[:, :2]) & (middle <= boxes[:, 2:])).all(1) & in_front & objects.has_3d
    visible = (boxes[:, :2] + boxes[:, 2:]) / 2
    place = torch.where(inside[:, None], middle, visible) / stride
    height, width = map_hw
    column = place[:, 0].floor().clamp(0, width - 1)
    row = place[:, 1].floor().clamp(0, height - 1)
    return (row * width + column).long()


def candidates_of_objects(
    objects: Sequence[Objects],
    scene: SceneGeometry,
    num_classes: int,
    map_hw: tuple[int, int],
    stride: float,
    ry_frame: str,
    *,
    attributes: bool = False,
    jitter: float = 0.0,
    generator: torch.Generator | None = None,
) -> Candidates:
    """Labels as if they had been detected with certainty; candidate k of an image is its object k.

    Objects to be ignored and those without 3D box are not valid. The host computes all of it.

    Args:
        scene: camera and ground of each image, where the candidates are wanted.
        attributes: take the labels' attributes too, half where they are not known.
        jitter: about as far as a detector is off, in deviations: of the 2D boxes' sides in shares of their size and of
            the log depth 5 %, of the heading 0.1 rad, for 1; probabilities waver too. 0 leaves the labels.
        generator: draws it.
    """
    device, scene = scene.cameras.K.device, scene.on_host()
    joined, image, position = cat_objects(objects, scene.cameras.K.device)
    each = scene[image]
    views = view_boxes(joined.rows, each.cameras, upright_frame(scene, ry_frame)[image])
    cells = home_cells(joined, views.middle, views.in_front, map_hw, stride)
    certain = F.one_hot(joined.classes, num_classes).to(joined.rows.dtype)
    flat = Candidates(
        boxes_xyxy=joined.boxes_xyxy,
        rows=joined.rows,
        classes=joined.classes,
        class_probs=certain,
        attributes=joined.attributes.to(certain) / int(YES) if attributes else certain[:, :0],
        heat=torch.ones_like(joined.rows[:, 0]),
        std=torch.zeros_like(joined.rows[:, 0]),
        cells=cells,
        valid=joined.has_3d & ~joined.ignore,
    )
    if jitter > 0:
        flat = _jittered(flat, each, jitter, generator)
    most = max([len(o) for o in objects] + [1])

    def pad(value: Tensor) -> Tensor:
        whole = value.new_zeros(len(objects), most, *value.shape[1:])
        whole[image, position] = value
        return whole

    return flat.map(pad).to(device)


def _jittered(flat: Candidates, each: SceneGeometry, jitter: float, generator: torch.Generator | None) -> Candidates:
    """Rows move along their rays, 2D boxes by shares of their sides."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=flat.rows.device) * jitter

    count, num_classes = flat.class_probs.shape
    sides = (flat.boxes_xyxy[:, 2:] - flat.boxes_xyxy[:, :2]).repeat(1, 2)
    center = each.cameras.center
    location = center + (flat.rows[:, :3] - center) * (0.05 * noise(count, 1)).exp()
    turn = torch.where(noise(count).abs() > 2.5 * jitter, torch.pi, 0.0) + 0.1 * noise(count)
    dims = flat.rows[:, 3:6] * (0.05 * noise(count, 3)).exp()
    certainty = (0.15 * noise(count, 1).abs()).clamp(max=0.6)
    wavering = noise(count, num_classes).abs()
    wavering = wavering / wavering.sum(1, keepdim=True).clamp(min=1e-6)
    return Candidates(
        boxes_xyxy=flat.boxes_xyxy + 0.05 * noise(count, 4) * sides,
        rows=torch.cat([location, dims, flat.rows[:, 6:] + turn[:, None]], dim=1),
        classes=flat.classes,
        class_probs=flat.class_probs * (1 - certainty) + certainty * wavering,
        attributes=(_SURE_LOGIT * (2 * flat.attributes - 1) + _LOGIT_NOISE * noise(*flat.attributes.shape)).sigmoid(),
        heat=1 - certainty[:, 0],
        std=0.05 * jitter + flat.std,
        cells=flat.cells,
        valid=flat.valid,
    )


@torch.no_grad()
def match_objects(
    found: Candidates, objects: Sequence[Objects], positive: float = 0.5, negative: float = 0.3
) -> Tensor:
    """Which labelled object each candidate is, one to one: (B, K) positions in the image's objects.

    By overlap of the 2D boxes, best pair first, from `positive` on. -1 for candidates that are nothing: below
    `negative` for every object, or second to a better one. -2 for those in between and those on objects to be ignored.
    """
    labels, there = pad_objects(objects, torch.device("cpu"))
    mine = torch.cat([found.boxes_xyxy.float(), found.valid[..., None].float()], dim=-1).cpu()  # the rest is the host's
    boxes, wanted = with_area(mine[..., :4]), with_area(labels.boxes_xyxy.float())
    iou = iou_and_giou(boxes[:, :, None], wanted[:, None])[0].nan_to_num(0.0)
    iou = torch.where((mine[..., 4:] > 0) & there[:, None], iou, 0.0)
    matched = torch.full(iou.shape[:2], -1)
    for b, own in enumerate(objects):
        if len(own):
            matched[b] = _match_image(iou[b, :, : len(own)], own.ignore.cpu(), positive, negative)
    return upload(matched, found.cells.device)


def _match_image(iou: Tensor, ignore: Tensor, positive: float, negative: float) -> Tensor:
    """`match_objects` of one image, from overlaps (K, M) on the host: (K,)."""
    matched = torch.full(iou.shape[:1], -1)
    best = iou.amax(1)
    unclear = ((best >= negative) & (best < positive)) | ((iou * ignore).amax(1) >= negative)
    left = iou * ~ignore
    for _ in range(min(iou.shape)):
        k, m = divmod(int(left.argmax()), iou.shape[1])
        if left[k, m] < positive:
            break
        matched[k] = m
        left[k], left[:, m] = 0.0, 0.0
    return torch.where(unclear & (matched == -1), -2, matched)
