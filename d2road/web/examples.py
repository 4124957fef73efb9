"""Images, clips and traffic to try the shipped models with: made for it, and of no training."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2road.data.roadside_camera_files import CAMERA_FILE
from d2road.model_zoo import shipped_file
from d2road.synthetic.fastener_kit.kit_writer import render_kit_image
from d2road.synthetic.roadside.compose import render_frame
from d2road.synthetic.roadside.roadside_labels import calibration_files
from d2road.synthetic.roadside.roadside_writer import frame_rng
from d2road.synthetic.traffic_incidents.followers import Stop, following_traffic
from d2road.synthetic.traffic_video.steady_clip import VIDEO, make_steady_clip
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_small

SEED = 1_000_003  # of no data set of this project
FIRST = 2  # a view with many road users
EXAMPLE_S = 3.0  # of a clip
TRAFFIC_S = 150.0
TRAFFIC_MODEL = "traffic_rules_forecast"  # of the model zoo
SENTENCES = "a car\nthe white car\nthe bus on the left\nall pedestrians"
KITS = ("good", "logical", "structural")


@dataclass(frozen=True)
class RoadsideExample:
    """Files of a view: image, calibration and ground plane."""

    image: Path
    calib: Path
    denorm: Path


def roadside_example(folder: Path, number: int) -> RoadsideExample:
    """Render a roadside view, another one for each number."""
    frame = render_frame(frame_rng(SEED, "val", number))
    texts = calibration_files(frame.view)
    paths = RoadsideExample(folder / f"view_{number}.png", folder / "calib.txt", folder / "denorm.txt")
    write_image(paths.image, frame.image, bgr=True)
    write_small(paths.calib, texts["calib"])
    write_small(paths.denorm, texts["denorm"])
    return paths


@dataclass(frozen=True)
class VideoExample:
    """Files of a clip: video and calibration."""

    video: Path
    calibration: Path


def video_example(folder: Path, number: int) -> VideoExample:
    """Render three seconds of steady traffic before a camera, another one for each number."""
    make_steady_clip(folder, SEED, number, EXAMPLE_S)
    return VideoExample(folder / VIDEO, folder / CAMERA_FILE)


def kit_examples(folder: Path, number: int) -> list[Path]:
    """Draw a good fastener kit, one of wrong parts and a damaged one, others for each number."""
    paths = [folder / f"kit_{number}_{group}.png" for group in KITS]
    for path, group in zip(paths, KITS):
        write_image(path, render_kit_image(SEED, group, number).image)
    return paths


@dataclass(frozen=True)
class TrafficExample:
    """Files of traffic: trajectories (CSV), and shipped rules with their threshold."""

    trajectories: Path
    calibration: Path


def traffic_example(folder: Path, number: int) -> TrafficExample:
    """Simulate some minutes of traffic in which somebody stops, others for each number."""
    paths = TrafficExample(folder / f"traffic_{number}.csv", folder / f"{TRAFFIC_MODEL}.json")
    rows = following_traffic(np.random.default_rng([SEED, number]), TRAFFIC_S, Stop())
    write_small(paths.trajectories, rows.round(2).to_csv(index=False))
    shutil.copyfile(shipped_file(TRAFFIC_MODEL), paths.calibration)
    return paths
