"""Linear probe: where in a detector features tell the colour and the type of a vehicle, and where they cease to.

python -m benchmarks.diffusion_det.word_probe --arm fold1     of an arm that words_as_classes has trained, or groups;
    --schedule long: on the longer schedule

Features of the true boxes of the validation views: pooled from the finest level of the backbone and of the pyramid, and
the output of the last stage's class tower, which is classified. Logistic regression on each, fitted on two thirds of
the objects, names colour and type of the others. The record goes beside that of the arm.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.ops import roi_align

from benchmarks.common.records import write_record
from benchmarks.diffusion_det.word_pairs import DATA, TYPES, VALIDATION_VIEWS, is_ignored, read_views
from benchmarks.diffusion_det.word_scores import GROUPS
from benchmarks.diffusion_det.word_tables import SCHEDULES
from benchmarks.diffusion_det.words_as_classes import ARMS, OUT, config_for
from d2road.engine import Predictor
from d2road.synthetic.roadside.views import WIDTH

REGULARIZATION = 0.01  # C of scikit-learn
FITTED = 2 / 3
PLACES = ("backbone", "pyramid", "tower")
POOLED_SIDE = 3


@torch.no_grad()
def features_by_place(predict: Predictor) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """(M, C) of the vehicles of the validation views by PLACES, with their colours and types."""
    rows: dict[str, list[np.ndarray]] = {place: [] for place in PLACES}
    colours: list[str] = []
    kinds: list[str] = []
    model = predict.model
    given: dict[str, Any] = {}  # what the hooks saw last
    finest = model.backbone.bottom_up.output_shape()[model.backbone.in_features[0]].stride
    handles = [
        model.head.head_series[-1].cls_module.register_forward_hook(lambda *call: given.update(tower=call[-1])),
        model.backbone.bottom_up.register_forward_hook(lambda *call: given.update(maps=call[-1])),
    ]
    for view in read_views(DATA, "train")[-VALIDATION_VIEWS:]:
        objects = [entry for entry in view["objects"] if entry["type"] in TYPES and not is_ignored(entry)]
        if not objects:
            continue
        entry = predict.prepare(DATA / view["file_name"])
        images, _ = model.preprocess_sized([entry])
        boxes = torch.tensor([entry["box_xyxy"] for entry in objects]) * entry["image"].shape[2] / WIDTH
        features = model.features(images)
        model.head(features, boxes[None], torch.tensor([0]))
        backbone = given["maps"][model.backbone.in_features[0]]
        for place, level in (("backbone", backbone), ("pyramid", features[0])):
            pooled = roi_align(level, [boxes], POOLED_SIDE, 1 / finest, sampling_ratio=2, aligned=True)
            rows[place].append(pooled.flatten(1).numpy())
        rows["tower"].append(given["tower"].reshape(len(objects), -1).numpy())
        colours += [entry["color"] for entry in objects]
        kinds += [entry["type"] for entry in objects]
    for handle in handles:
        handle.remove()
    return {place: np.concatenate(parts) for place, parts in rows.items()}, colours, kinds


def probe(features: np.ndarray, labels: list[str], seed: int) -> dict[str, float]:
    """Share of held-out objects that are named right, beside that of the most frequent name."""
    order, names = np.random.default_rng(seed).permutation(len(features)), np.array(labels)
    fitted, held = np.split(order, [int(FITTED * len(order))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION, max_iter=500))
    right = model.fit(features[fitted], names[fitted]).score(features[held], names[held])
    values, counts = np.unique(names[fitted], return_counts=True)
    return {"accuracy": float(right), "most_frequent": float((names[held] == values[counts.argmax()]).mean())}


def main() -> None:
    """Probe one arm and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=ARMS, default=GROUPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedule", choices=SCHEDULES, default="short", help="of the training (%(default)s)")
    args = parser.parse_args()
    schedule, start = SCHEDULES[args.schedule], time.perf_counter()
    cfg = config_for(args.arm, args.seed, args.schedule)
    weights = cfg.MODEL.WEIGHTS if args.arm == GROUPS else Path(cfg.OUTPUT_DIR) / "model_final.pth"
    features, colours, kinds = features_by_place(Predictor(cfg, weights))
    metrics: dict[str, object] = {"objects": len(colours)}
    for place, own in features.items():
        metrics[place] = {"colour": probe(own, colours, args.seed), "type": probe(own, kinds, args.seed)}
    command = f"python -m benchmarks.diffusion_det.word_probe --arm {args.arm}"
    write_record(
        schedule.bench, f"seed{args.seed}/{args.arm}_probe", metrics=metrics, config=schedule.config,
        seed=args.seed, command=f"{command} --schedule {args.schedule}", seconds=time.perf_counter() - start,
    )  # fmt: skip
    print(f"{args.arm}: {metrics} (data in {OUT})")


if __name__ == "__main__":
    main()
