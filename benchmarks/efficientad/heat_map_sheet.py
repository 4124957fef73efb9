"""A few test images of a run with their heat maps, for looking at: clear, typical and missed defects, good ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from torch import nn

from benchmarks.efficientad.anomaly_results import dicts_of
from d2road.data import build_mapper
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import read_image, write_image
from d2road.visualization import draw_heatmap, draw_mask_outline
from efficientad.evaluation.image_scores import GOOD
from efficientad.evaluation.mask_files import read_marked


def choose(kinds: Sequence[str], scores: Sequence[float]) -> dict[str, int]:
    """Images to show, by what they show: defects of the highest, middle and lowest score, good ones likewise.

    Args:
        kinds: "good" or the type of anomaly of each image.
        scores: of each image.
    Returns:
        number of the image by name; only what there is.
    """
    order = np.argsort(scores, kind="stable")
    chosen = {}
    for names, good in ((("missed", "typical", "clear"), False), (("calm", "good", "false_alarm"), True)):
        members = [int(i) for i in order if (kinds[i] == GOOD) == good]
        if members:
            chosen |= dict(zip(names, (members[0], members[len(members) // 2], members[-1])))
    return chosen


def write_heat_maps(cfg: CfgNode, model: nn.Module, kinds: Sequence[str], scores: Sequence[float], folder: Path) -> int:
    """Write the chosen images beside their heat maps, all in the same colours; returns how many.

    The image has the outline of its masks, the heat map a line around what lies above the decision threshold.

    Args:
        model: a detector, calibrated.
        kinds, scores: of the test images, in the order of the data set.
    """
    entries, mapper = dicts_of(cfg.DATASETS.TEST[0]), build_mapper(cfg, False)
    if len(entries) != len(scores):
        raise ConfigError(f"{len(scores)} scores for {len(entries)} test images: the data has changed since the test")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose(kinds, scores)
    found = {what: model([mapper(entries[number])])[0] for what, number in chosen.items()}
    high = max(float(result["anomaly_map"].max()) for result in found.values())
    # Of normalised maps 0 is where findings begin; below it lies the noise of good images.
    low = max(0.0, min(float(result["anomaly_map"].median()) for result in found.values()))
    for what, result in found.items():
        entry = entries[chosen[what]]
        image, outlined = (read_image(entry["file_name"]) for _ in range(2))
        masks = [read_marked(path)[0] for path in entry["mask_files"]]
        if masks:
            draw_mask_outline(outlined, np.any(masks, axis=0))
        threshold = result.get("anomaly_threshold")
        heat = draw_heatmap(
            image,
            result["anomaly_map"].cpu().numpy(),
            float(result["anomaly_score"]),
            (low, max(low, high)),
            None if threshold is None else float(threshold),
        )
        name = f"{what}_{entry['defect']}_{Path(entry['file_name']).stem}.png"
        write_image(folder / name, np.concatenate([outlined, heat], axis=1))
    return len(found)
