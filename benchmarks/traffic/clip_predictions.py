"""What the detector finds in every frame of filmed clips, kept in a file for each, so that studies do not detect anew.

python -m benchmarks.traffic.clip_predictions --clips datasets/traffic_video --names val_000 val_001
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera
from d2road.engine.predictor import Predictor
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.utils.output_files import atomic_write, make_folder
from d2road.utils.progress import track
from d2road.video import VideoFile

CONFIG, WEIGHTS = "diffusion_det/toy_roadside3d/demo.yaml", "zoo:diffusion_det_toy3d"
LEAST_SCORE = 0.05
BOX = ["x1", "y1", "x2", "y2"]
ROW = ["x", "y", "z", "h", "w", "l", "ry"]


def predict_clip(
    predict: Predictor, video: Path, camera: RoadsideCamera, plane: np.ndarray | None, every: int = 1
) -> pd.DataFrame:
    """Everything found in a clip with LEAST_SCORE or more of either score: frame, t, cls, score (3D), score_2d, BOX (px
    of the undistorted image), ROW (x, y, z of the bottom centre, h, w, l, ry in the camera frame), alpha, depth_std_m.

    Args:
        plane: (4,) ground that the detector is told, or None.
        every: frames from one that is looked at to the next.
    """
    maps = camera.undistortion_maps() if camera.distortion.any() else None
    names = predict.metadata.thing_classes
    pinhole = camera.pinhole
    given = type(pinhole)(pinhole.P, plane)
    frames = []
    with VideoFile(video) as source:
        for frame in track(source, total=source.claimed, label=video.parent.name):
            if frame.index % every:
                continue
            image = frame.image_bgr if maps is None else cv2.remap(frame.image_bgr, *maps, cv2.INTER_LINEAR)
            found = predict(image, given)["instances"]
            found = found[(found.scores >= LEAST_SCORE) | (found.scores_2d >= LEAST_SCORE)]
            ground = pinhole.ground_rotation()
            boxes = found.pred_boxes3d
            rows = pd.DataFrame(found.pred_boxes.tensor.numpy(), columns=BOX)
            rows[ROW] = boxes.to_kitti(ground).double().numpy()
            rows["alpha"], rows["depth_std_m"] = boxes.alpha(ground).numpy(), found.pred_depth_std_m.numpy()
            rows["score"], rows["score_2d"] = found.scores.numpy(), found.scores_2d.numpy()
            rows["cls"] = [names[k] for k in found.pred_classes.tolist()]
            frames.append(rows.assign(frame=frame.index, t=frame.t))
    return pd.concat(frames, ignore_index=True)


def clip_folder(clips: Path, name: str) -> Path:
    """The folder of a clip: its split is the first part of its name."""
    return clips / name.partition("_")[0] / name


def main(argv: Sequence[str] | None = None) -> None:
    """Detect in the named clips; those that have a file already are left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("datasets/traffic_video"))
    parser.add_argument("--names", nargs="+", required=True)
    parser.add_argument("--output", type=Path, help="folder; CLIPS/pred unless given")
    parser.add_argument("--weights", default=WEIGHTS)
    parser.add_argument("--no-plane", action="store_true", help="the detector is not told the ground")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th frame (default: 1)")
    args = parser.parse_args(argv)
    output = make_folder(args.output or args.clips / "pred")
    predict = None
    for name in args.names:
        path = output / f"{name}{'_no_plane' * args.no_plane}.parquet"
        if path.is_file():
            continue
        predict = predict or Predictor(CONFIG, args.weights)
        folder = clip_folder(args.clips, name)
        camera = read_roadside_camera(folder / CAMERA_FILE)
        rows = predict_clip(predict, folder / "video.mp4", camera, None if args.no_plane else camera.ground, args.every)
        if not np.isfinite(rows.select_dtypes("number").to_numpy()).all():
            raise RuntimeError(f"{name}: the detector gave numbers that are not finite")
        with atomic_write(path) as file:
            rows.to_parquet(file, index=False)


if __name__ == "__main__":
    main()
