"""How far a student on frozen features is at each checkpoint of its training, on images held out of it.

Letters: h x w cells of a map, C channels.
"""

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from benchmarks.efficientad.anomaly_results import load_model
from d2road.evaluation.metrics.roc import auroc
from efficientad.data.image_iteration import DatasetImages, Entry, images_of
from efficientad.detector import EfficientAD
from efficientad.modeling.networks import difference_maps

Progress = dict[str, dict[str, float]]


@torch.no_grad()
def student_progress(cfg: CfgNode, folder: Path, steps: int, data: str) -> Progress:
    """Error on good images and image AUROC of a student at its checkpoints, each by the number of steps as text.

    Args:
        cfg: of the student.
        folder: of the checkpoints; that of the end is after `steps`.
        data: name of a test set, of good images that were held out and of defective ones.
    Returns:
        {"student_error": mean squared error on good images in shares of the target's variance, "student_train_error":
        the same on as many images of the training set, "student_auroc": image AUROC of the largest value of the
        student's map}.
    """
    entries = list(images_of(DatasetImages(cfg, [data]), "images held out"))
    good = sum(not entry["label"] for entry in entries)
    trained = list(images_of(DatasetImages(cfg, cfg.DATASETS.TRAIN, most=good), "training images"))
    labels = np.array([bool(entry["label"]) for entry in entries])
    found: Progress = {"student_error": {}, "student_train_error": {}, "student_auroc": {}, "squared_auroc": {}}
    features: list[Tensor] = []  # of the teacher, the same for all checkpoints
    for number, path in checkpoints(folder, steps).items():
        model = load_model(cfg, path)
        assert isinstance(model, EfficientAD)
        if not features:
            features = [model.networks.teacher(model.preprocess([entry])) for entry in entries + trained]
        pairs = [student_maps(model, *pair) for pair in zip(entries + trained, features)]
        maps, squared = (torch.cat(own) for own in zip(*pairs))
        at, held_out = str(number), slice(len(entries))
        found["student_error"][at] = round(float(squared[held_out][~labels].mean()), 4)
        found["student_train_error"][at] = round(float(squared[len(entries) :].mean()), 4)
        for name, own in (("student_auroc", maps), ("squared_auroc", squared)):
            largest = own[held_out].flatten(1).amax(1).numpy()
            found[name][at] = round(auroc(largest[~labels], largest[labels]), 4)
    return found


def student_maps(model: EfficientAD, entry: Entry, features: Tensor) -> tuple[Tensor, Tensor]:
    """The student's map (1, h, w) of a mapped image whose teacher's features are (1, C, h, w), and mean squares."""
    found = model.networks.features(model.preprocess([entry]), features)
    return model.networks.maps_of(found)[:, 0], difference_maps(found)[:, 0]


def checkpoints(folder: Path, steps: int) -> dict[int, Path]:
    """Checkpoints of a training by the number of their steps, in order; the final one is after `steps`."""
    numbers = {path: path.stem.removeprefix("model_") for path in folder.glob("model_*.pth")}
    found = {int(number) + 1: path for path, number in numbers.items() if number.isdigit()}
    return dict(sorted({**found, steps: folder / "model_final.pth"}.items()))
