"""What the baselines of anomaly detection share: Detectron2's contract, and thresholds from good images."""

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
        self.threshold = self.map_threshold = math.nan

    @abstractmethod
    def detect(self, entry: dict) -> tuple[Tensor, Tensor]:
        """Anomaly map (height, width) and score () of a mapped image."""

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """Per image "anomaly_map" (height, width), "anomaly_score", "map_score", the map's maximum, and their
        "anomaly_threshold" and "map_threshold" once they are set."""
        found = []
        for entry in batched_inputs:
            anomaly_map, score = self.detect(entry)
            found.append({"anomaly_map": anomaly_map, "anomaly_score": score, "map_score": anomaly_map.max()})
            if math.isfinite(self.threshold):
                found[-1]["anomaly_threshold"] = torch.tensor(self.threshold)
                found[-1]["map_threshold"] = torch.tensor(self.map_threshold)
        return found

    def take_threshold(self, cfg: CfgNode, false_positive_rate: float) -> None:
        """Set the thresholds of scores and of maps by the good validation images that a config names."""
        validation = images_of(DatasetImages(cfg, calibration_names(cfg)), "threshold")
        found = [self([entry])[0] for entry in validation]
        scores, largest = ([float(one[key]) for one in found] for key in ("anomaly_score", "map_score"))
        self.threshold = decision_threshold(scores, false_positive_rate)
        self.map_threshold = decision_threshold(largest, false_positive_rate)
