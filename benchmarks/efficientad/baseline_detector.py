"""What the baselines of anomaly detection share: Detectron2's contract, and a threshold from good images."""

import math
from abc import ABC, abstractmethod

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from efficientad.conformal import decision_threshold
from efficientad.data.image_iteration import DatasetImages, calibration_names, images_of


class BaselineDetector(nn.Module, ABC):
    """Detectron2's contract of a detector around the map and score of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = math.nan

    @abstractmethod
    def detect(self, entry: dict) -> tuple[Tensor, Tensor]:
        """Anomaly map (height, width) and score () of a mapped image."""

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """Per image "anomaly_map" (height, width), "anomaly_score", and "anomaly_threshold" once it is set."""
        found = []
        for entry in batched_inputs:
            anomaly_map, score = self.detect(entry)
            found.append({"anomaly_map": anomaly_map, "anomaly_score": score})
            if math.isfinite(self.threshold):
                found[-1]["anomaly_threshold"] = torch.tensor(self.threshold)
        return found

    def take_threshold(self, cfg: CfgNode, false_positive_rate: float) -> None:
        """Set the threshold by the scores of the good validation images that a config names."""
        validation = images_of(DatasetImages(cfg, calibration_names(cfg)), "threshold")
        scores = [float(self([entry])[0]["anomaly_score"]) for entry in validation]
        self.threshold = decision_threshold(scores, false_positive_rate)
