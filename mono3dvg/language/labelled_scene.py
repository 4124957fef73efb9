"""A labelled image as a model of logical forms: positions on the ground and in the image, and attributes.

Ground axes: x to the right and z forward as the camera sees them, m, the origin below the camera. Without a ground
plane they are the camera's own. u runs over the image from 0 (left) to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mono3dvg.schema import GroundingData

HIDDEN_BELOW, CLEAR_FROM = 0.8, 0.95  # share of an object's pixels that nothing covers


@dataclass(frozen=True)
class LabelledScene:
    """N objects; attributes that are not known are None.

    kinds: class names. ignore: (N,) objects of which nothing shall be said. u, u_left, u_right: (N,) middle and sides
    of the 2D boxes. position: (N, 2) x, z. heading: (N, 2) unit vectors. hwl: (N, 3) m. hidden: 1 partly hidden,
    0 in clear view, None between. NaN where there is no 3D box.
    """

    ids: tuple
    kinds: tuple[str, ...]
    ignore: np.ndarray
    u: np.ndarray
    u_left: np.ndarray
    u_right: np.ndarray
    position: np.ndarray
    heading: np.ndarray
    hwl: np.ndarray
    hidden: tuple[int | None, ...]
    colors: tuple[str | None, ...]
    lanes: tuple[int | None, ...]
    states: tuple[str | None, ...]
    truths: dict = field(default_factory=dict, compare=False, repr=False)  # of predicates, once they are found out

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def distance(self) -> np.ndarray:
        """(N,) metres over the ground from the point below the camera."""
        return np.hypot(self.position[:, 0], self.position[:, 1])

    def footprints(self) -> np.ndarray:
        """(N, 4, 2) corners on the ground, going round."""
        along = self.heading * self.hwl[:, 2:] / 2
        across = np.stack([-self.heading[:, 1], self.heading[:, 0]], axis=1) * self.hwl[:, 1:2] / 2
        signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
        return np.stack([self.position + a * along + b * across for a, b in signs], axis=1)

    def mirrored(self) -> "LabelledScene":
        """The same in a mirror: what the camera sees when the image is flipped left to right."""
        mirror = np.array([-1.0, 1.0])
        return replace(
            self,
            u=1 - self.u,
            u_left=1 - self.u_right,
            u_right=1 - self.u_left,
            position=self.position * mirror,
            heading=self.heading * mirror,
            truths={},
        )


def build_labelled_scene(data: "GroundingData", image_id: Any) -> LabelledScene:
    """The scene of an image of grounding data."""
    image, things = data.images[image_id], data.objects_of[image_id]
    ground = image.camera.ground_rotation()
    frame = ground if data.ry_frame == "ground" else np.eye(3)
    nowhere = [float("nan")] * 3
    boxes = np.array([thing.bbox for thing in things], dtype=np.float64).reshape(-1, 4) / image.width
    ry = np.array([np.nan if t.rotation_y is None else t.rotation_y for t in things])
    turned = np.stack([np.cos(ry), np.zeros_like(ry), -np.sin(ry)], axis=1)  # ry = 0: along x; pi / 2: along -z
    heading = (turned @ frame.T @ ground)[:, [0, 2]]
    attributes = [thing.attributes for thing in things]
    return LabelledScene(
        ids=tuple(thing.id for thing in things),
        kinds=tuple(data.categories[thing.category_id] for thing in things),
        ignore=np.array([thing.ignore for thing in things], dtype=bool),
        u=(boxes[:, 0] + boxes[:, 2]) / 2,
        u_left=boxes[:, 0],
        u_right=boxes[:, 2],
        position=(_rows([t.location or nowhere for t in things]) @ ground)[:, [0, 2]],
        heading=heading / np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-9),
        hwl=_rows([t.dimensions or nowhere for t in things]),
        hidden=tuple(_hidden(thing.occlusion, thing.attributes) for thing in things),
        colors=tuple(a.get("color") for a in attributes),
        lanes=tuple(a.get("lane") for a in attributes),
        states=tuple(a.get("state") for a in attributes),
    )


def _rows(values: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(-1, 3)


def _hidden(occlusion: int, attributes: Mapping[str, Any]) -> int | None:
    """From the share of visible pixels where it is known, else from KITTI's levels (0 clear, 1 and 2 partly)."""
    visible = attributes.get("visible")
    if visible is not None:
        return 1 if visible < HIDDEN_BELOW else 0 if visible >= CLEAR_FROM else None
    return {0: 0, 1: 1, 2: 1}.get(occlusion)
