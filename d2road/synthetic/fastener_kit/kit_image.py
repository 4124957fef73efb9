"""One image of the toy data: a kit, what is wrong with it, the photograph and a mask for each defect."""

from dataclasses import dataclass

import numpy as np

from d2road.synthetic.fastener_kit.kit import sample_kit
from d2road.synthetic.fastener_kit.kit_parts import PART_KINDS
from d2road.synthetic.fastener_kit.kit_render import (
    MM,
    OVERSAMPLING,
    KitScene,
    box_distance,
    build_scene,
    sample_kit_view,
    shade,
    to_image_size,
)
from d2road.synthetic.fastener_kit.logical_anomalies import LOGICAL, STRIPE_BOX, Finding
from d2road.synthetic.fastener_kit.structural_anomalies import STRUCTURAL

PX2_PER_MM2 = (MM / OVERSAMPLING) ** 2
SECOND_DEFECT = 0.25  # share of damaged kits with two defects


@dataclass(frozen=True)
class KitImage:
    """image (SIZE, SIZE, 3) uint8 RGB; `anomaly` says what was done to the kit; masks (SIZE, SIZE) bool by defect."""

    image: np.ndarray
    anomaly: str
    defects: tuple[tuple[str, np.ndarray], ...] = ()


def defect_types() -> list[dict]:
    """The content of defects_config.json: saturation in pixels is the area of the part that is missing or too many."""
    stripe_mm2 = (STRIPE_BOX[2] - STRIPE_BOX[0]) * (STRIPE_BOX[3] - STRIPE_BOX[1])
    absolute = {f"{what}_{name}": kind.area for what in ("missing", "extra") for name, kind in PART_KINDS.items()}
    absolute["wrong_label"] = stripe_mm2
    types: list[tuple[str, float, bool]] = [(name, round(area * PX2_PER_MM2), False) for name, area in absolute.items()]
    types += [(name, 1.0, True) for name in ("swapped_part", "misplaced_part", *STRUCTURAL)]
    return [
        {"defect_name": n, "pixel_value": 255 - i, "saturation_threshold": s, "relative_saturation": r}
        for i, (n, s, r) in enumerate(types)
    ]


def good_image(rng: np.random.Generator) -> KitImage:
    """A kit as it shall be."""
    kit, view = sample_kit(rng), sample_kit_view(rng)
    return KitImage(shade(build_scene(kit, view, rng), view), "good")


def logical_image(rng: np.random.Generator, anomaly: str) -> KitImage:
    """A kit with an anomaly of LOGICAL."""
    kit, view = sample_kit(rng), sample_kit_view(rng)
    kit, findings = LOGICAL[anomaly](rng, kit)
    scene = build_scene(kit, view, rng)
    masks = []
    for finding in findings:
        parts = [mask for part, mask in zip(kit.parts, scene.part_masks) if any(part is p for p in finding.parts)]
        masks.append((finding.defect, to_image_size(_mask(finding, parts, scene))))
    return KitImage(shade(scene, view), anomaly, tuple(masks))


def structural_image(rng: np.random.Generator, anomaly: str) -> KitImage:
    """A good kit with an anomaly of STRUCTURAL, sometimes with a second one of any of them."""
    kit, view = sample_kit(rng), sample_kit_view(rng)
    scene = build_scene(kit, view, rng)
    kinds = [anomaly]
    if rng.uniform() < SECOND_DEFECT:
        kinds.append(list(STRUCTURAL)[int(rng.integers(len(STRUCTURAL)))])
    # Thin lines cover few pixels by half.
    masks = tuple((kind, to_image_size(STRUCTURAL[kind](rng, scene, kit), 0.3)) for kind in kinds)
    return KitImage(shade(scene, view), anomaly, masks)


def _mask(finding: Finding, parts: list[np.ndarray], scene: KitScene) -> np.ndarray:
    mask = np.logical_or.reduce(parts) if parts else np.zeros(scene.height.shape, bool)
    if finding.box is None:
        return mask
    inside = box_distance(*scene.tray_xy, finding.box, 0.0) < 0
    if not finding.whole_box:
        inside &= ~np.logical_or.reduce(scene.part_masks)
    return mask | inside
