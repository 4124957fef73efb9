"""A model of your own good images, and verdicts on others: python examples/learn_good_images.py OWN OUTPUT IMAGE ...

OWN is a folder whose folder good has 50 to 300 images.
"""

import sys
from pathlib import Path

from d2road.config import make_cfg
from d2road.engine import Predictor, Trainer


def main(own: str, output: str, *images: str, options: tuple[str, ...] = ()) -> list[bool]:
    """Print score, threshold and verdict of each image; returns whether each is anomalous."""
    train = ["DATASETS.TRAIN", f"('folder:{own}',)", "OUTPUT_DIR", output, *options]
    cfg = make_cfg("efficientad/own_images_patchcore.yaml", train)
    Path(output).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()

    predict = Predictor(cfg, Path(output) / "model_final.pth")
    threshold = predict.model.anomaly_threshold()
    scores = [float(predict(image)["anomaly_score"]) for image in images]
    for image, score in zip(images, scores):
        print(f"{image}: {score:.2f}, threshold {threshold:.2f}: {'anomalous' if score > threshold else 'good'}")
    return [score > threshold for score in scores]


if __name__ == "__main__":
    main(*sys.argv[1:])
