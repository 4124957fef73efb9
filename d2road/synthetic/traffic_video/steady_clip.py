"""A short clip of vehicles that keep their lanes and speeds: rendered as other clips are, without SUMO.

It is an example to try a program with, and no data: nobody brakes, follows or changes lanes.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from d2road.data.roadside_camera_files import write_camera_folder
from d2road.synthetic.traffic_incidents.control import STEP_S
from d2road.synthetic.traffic_video.clip_camera import sample_camera
from d2road.synthetic.traffic_video.clip_job import filmed_frames
from d2road.synthetic.traffic_video.clip_labels import ground_tracks
from d2road.synthetic.traffic_video.clip_plan import FPS, LIGHT, ClipPlan
from d2road.synthetic.traffic_video.clip_traffic import ROAD, ClipTraffic
from d2road.synthetic.traffic_video.film import start_film
from d2road.synthetic.traffic_video.road_shape import RoadShape
from d2road.synthetic.traffic_video.vehicle_sizes import SIZES, VehicleModel, sample_hwl
from d2road.utils.output_files import make_folder
from d2road.video import VideoWriter

KEY_M = 1000.0  # of the road, that the camera looks at
STRETCH_M = (800.0, 1200.0)  # that vehicles are on at the beginning
SPEEDS_MPS = (14.0, 22.0)
HEADWAYS_S = (1.6, 3.2)
KINDS = ("car", "car", "car", "van", "truck")
VIDEO = "video.mp4"


def make_steady_clip(folder: Path, seed: int, number: int, seconds: float, crf: int = 23) -> pd.DataFrame:
    """Render FOLDER/video.mp4, with camera.yaml beside it.

    Args:
        seed, number: decide camera, light, vehicles and speeds.
        seconds: at least 0.2. crf: of the video.
    Returns:
        its true tracks, as `ground_tracks` has them.
    Raises:
        OutputError: a file cannot be written.
    """
    plan = ClipPlan("val", 0, seed, seconds, SIZES[0], light_option=LIGHT[1], incidents=False)
    rng = np.random.default_rng([seed, number])
    camera = sample_camera(rng, ROAD, KEY_M, float(rng.uniform()), False, bool(rng.integers(2)))
    tracks = ground_tracks(steady_traffic(rng, plan.frames), camera)
    film = start_film(int(rng.integers(2**31)), camera, RoadShape(camera.street), plan.light, plan.frames)
    with VideoWriter(make_folder(folder) / VIDEO, FPS, crf=crf) as video:
        for image in filmed_frames(plan, film, tracks, []):
            video.write(image)
    write_camera_folder(folder, camera.model)
    return tracks


def steady_traffic(rng: np.random.Generator, frames: int) -> ClipTraffic:
    """Vehicles in all lanes, each lane at one speed and with headways of its own; a frame more at either end."""
    rows: list[tuple] = []
    models: dict[str, VehicleModel] = {}
    for lane in ROAD.lanes:
        speed, place = float(rng.uniform(*SPEEDS_MPS)), STRETCH_M[0] + float(rng.uniform(0, 30))
        while place < STRETCH_M[1]:
            name, kind = f"{len(models)}", str(rng.choice(KINDS))
            models[name] = VehicleModel(kind, sample_hwl(rng, kind, SIZES[0]))
            for frame in range(-1, frames + 1):
                x = place + speed * STEP_S * frame
                rows.append((frame, round(frame * STEP_S, 1), name, name, x, ROAD.lane_y(lane), 0.0, speed, lane, x))
            place += models[name].hwl[2] + speed * float(rng.uniform(*HEADWAYS_S))
    columns = ["frame", "t", "vehicle", "driver", "x", "y", "heading_rad", "speed", "lane", "s"]
    return ClipTraffic(pd.DataFrame(rows, columns=columns), 0.0, models, None, 0, Path(), frames)
