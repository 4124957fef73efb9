"""The objects in an image that a sentence means: python examples/ask_in_words.py IMAGE CALIB DENORM "all cars" ...

CALIB is a file with KITTI's line "P2: 12 numbers", DENORM one with the ground plane "a b c d" in the camera frame.
"""

import sys

from d2road.data.camera_files import read_calib, read_denorm
from d2road.engine import Predictor
from d2road.structures.camera import Camera


def main(image: str, calib: str, denorm: str, *sentences: str) -> list[int]:
    """Print the 3D boxes of each sentence; returns how many there are."""
    predict = Predictor("mono3dvg/toy_grounding/demo.yaml")
    asked = [{"id": number, "text": text} for number, text in enumerate(sentences)]
    camera = Camera(read_calib(calib), read_denorm(denorm))
    answers = predict(image, camera=camera, expressions=asked)["groundings"]
    counts = []
    for text, answer in zip(sentences, answers):
        meant = answer["scores"] >= predict.model.score_threshold
        counts.append(int(meant.sum()))
        print(f"{text}: {counts[-1] or 'nothing here'}")
        for (x, _, z, *_), score in zip(answer["boxes"][meant].tolist(), answer["scores"][meant].tolist()):
            print(f"  {score:.2f}  {z:.1f} m ahead, {abs(x):.1f} m to the {'right' if x > 0 else 'left'}")
    return counts


if __name__ == "__main__":
    main(*sys.argv[1:])
