"""The smallest anomaly detector that accepts good images: its bank holds mean colours."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2road.config import make_cfg
from d2road.engine.accepted_images import AcceptingModel, Change


class MeanColours(nn.Module):
    """Score: distance of the mean colour to the nearest one of the bank."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = {0: torch.tensor([90.0, 90.0, 90.0])}
        self.threshold, self.guarantee, self.trail = 10.0, "a good image exceeds it with a probability of at most 1", ""

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        colours = torch.stack(list(self.bank.values()))
        means = [entry["image"].mean((1, 2)) for entry in batched_inputs]
        return [{"anomaly_score": (colours - mean).norm(dim=1).min()} for mean in means]

    def accept_image(self, model_input: Mapping[str, Any], image_id: int) -> int:
        self.bank[image_id] = model_input["image"].mean((1, 2))
        self.guarantee = "without guarantee: images were accepted"
        return 1

    def remove_image(self, image_id: int) -> int:
        del self.bank[image_id]
        self.guarantee = "without guarantee: images were removed"
        return 1

    def recalibrate(self, cfg: Any, images: Iterable[Mapping[str, Any]]) -> None:
        self.threshold = max(float(self([dict(entry)])[0]["anomaly_score"]) for entry in images)
        self.guarantee = "a good image exceeds it rarely"

    def anomaly_threshold(self) -> float | None:
        return self.threshold

    def anomaly_guarantee(self) -> str:
        return self.guarantee

    def audit_trail(self) -> str:
        return self.trail

    def set_audit_trail(self, text: str) -> None:
        self.trail = text


def accepting_model(model: nn.Module | None = None) -> AcceptingModel:
    """The model with its trail, for a user "me" with the reason "why"."""

    def prepare(image_bgr: np.ndarray) -> dict[str, Any]:
        return {"image": torch.as_tensor(image_bgr[:, :, ::-1].transpose(2, 0, 1).astype(np.float32))}

    predict: Any = SimpleNamespace(model=model or MeanColours(), prepare=prepare)
    cfg = make_cfg("", ["MODEL.WEIGHTS", "in.pth", "MODEL.META_ARCHITECTURE", "MeanColours"])
    return AcceptingModel(predict, cfg, Change("me", "why"))


def colour_files(folder: Path, *values: int) -> list[Path]:
    """Lossless images of one grey each, by their value."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{value:03d}.png" for value in values]
    for file, value in zip(files, values):
        cv2.imwrite(str(file), np.full((8, 12, 3), value, np.uint8))
    return files
