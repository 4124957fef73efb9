"""Boxes in an image by weights that come with the project: python examples/detect_objects.py IMAGE [DRAWING.jpg]"""

import sys

import cv2

from d2road.engine import Predictor
from d2road.visualization.boxes2d_drawing import draw_instances


def main(image: str, drawing: str = "", confidence: float = 0.5) -> list[tuple[str, float]]:
    """Print class, score and box of what is found; returns classes and scores."""
    predict = Predictor("diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy")
    found = predict(image)["instances"]
    found = found[found.scores >= confidence]
    names = [predict.metadata.thing_classes[i] for i in found.pred_classes]
    for name, score, box in zip(names, found.scores.tolist(), found.pred_boxes.tensor.tolist()):
        print(f"{name:<12} {score:.2f}  {' '.join(f'{value:.0f}' for value in box)}")
    if drawing:
        boxes, classes = found.pred_boxes.tensor.numpy(), found.pred_classes.numpy()
        scores, known = found.scores.numpy(), predict.metadata.thing_classes
        drawn = draw_instances(cv2.imread(image)[:, :, ::-1], boxes, classes, scores, known)  # RGB
        cv2.imwrite(drawing, drawn[:, :, ::-1])
    return list(zip(names, found.scores.tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
