"""One clip: driven, filmed, labelled and written; several processes do several."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from d2road.data.roadside_camera_files import write_camera_folder
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_video.clip_camera import ClipCamera, sample_camera
from d2road.synthetic.traffic_video.clip_labels import (
    LABEL_COLUMNS,
    TRACK_COLUMNS,
    filmed_vehicles,
    ground_tracks,
    kitti_tracking_text,
    label_rows,
)
from d2road.synthetic.traffic_video.clip_plan import FPS, ClipPlan
from d2road.synthetic.traffic_video.clip_traffic import ROAD, ClipTraffic, clip_scenario, drive, pack_fcd
from d2road.synthetic.traffic_video.film import Film, start_film
from d2road.synthetic.traffic_video.road_shape import sample_shape
from d2road.utils.output_files import atomic_write, make_folder, write_json, write_small
from d2road.utils.progress import track
from d2road.video import VideoWriter

RECORDS = ".clips"
ATTEMPTS = 40  # to draw traffic in which an incident is possible
KEYS_M = (850.0, 1250.0)  # of SUMO's road, of what a camera looks at where nothing happens
REPORT_S = 20.0
TIMES = ("render_s", "render_cpu_s")  # of a record; all else is the same in every run
CRF = 23  # mild compression


@dataclass(frozen=True)
class ClipJob:
    """A clip to make in the folder `out`."""

    out: str
    plan: ClipPlan

    @property
    def folder(self) -> Path:
        """Of the clip's files."""
        return Path(self.out) / self.plan.split / self.plan.name

    @property
    def record(self) -> Path:
        """The file that says that the clip is complete."""
        return Path(self.out) / RECORDS / f"{self.plan.name}.json"


def make_clip(job: ClipJob) -> None:
    """Make one clip; its record comes last.

    Raises:
        FileNotFoundError: SUMO is not installed.
        RuntimeError: SUMO fails, or in no traffic that was drawn the incident is possible.
        OutputError: a file cannot be written.
    """
    plan, folder = job.plan, make_folder(job.folder)
    with tempfile.TemporaryDirectory(prefix="traffic_video.") as work:
        traffic = drive_clip(plan, Path(work))
        pack_fcd(traffic.fcd, folder / "fcd.xml.gz", traffic.start_s, plan.seconds)
    camera, film = set_up(plan, traffic)
    tracks = ground_tracks(traffic, camera)
    began = time.monotonic(), time.process_time()
    labels: list[dict[str, Any]] = []
    with VideoWriter(folder / "video.mp4", FPS, crf=CRF) as video:
        for image in filmed_frames(plan, film, tracks, labels):
            video.write(image)
    took = dict(zip(TIMES, (round(time.monotonic() - began[0], 2), round(time.process_time() - began[1], 2))))
    table = tracks.merge(pd.DataFrame(labels, columns=list(LABEL_COLUMNS)), on=["frame", "id"], how="inner")
    write_camera_folder(folder, camera.model)
    write_small(folder / "labels.txt", kitti_tracking_text(table))
    _write_csv(folder / "tracks.csv", table[list(TRACK_COLUMNS)])
    frames = np.arange(plan.frames)
    _write_csv(folder / "frames.csv", pd.DataFrame({"frame": frames, "t": np.round(frames / FPS, 3)}))
    write_json(folder / "incidents.json", incident_records(plan, traffic, camera, table))
    write_json(job.record, {**clip_record(plan, traffic, film), **took}, indent=None)


def drive_clip(plan: ClipPlan, work: Path) -> ClipTraffic:
    """The traffic of a clip, drawn until it allows the incident.

    Raises:
        RuntimeError: it never does, or SUMO fails.
    """
    scenario, reason = clip_scenario(plan.scenario, plan.limit, plan.sizes), ""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence([*plan.stream(0), attempt]))
        try:
            return drive(work, scenario, rng, plan.seconds, plan.incident, plan.severity)
        except NotPossibleError as error:
            reason = str(error)
    raise RuntimeError(
        f"{plan.name}: {ATTEMPTS} times the traffic of {plan.scenario} did not allow {plan.incident}, last: {reason}"
    )


def set_up(plan: ClipPlan, traffic: ClipTraffic) -> tuple[ClipCamera, Film]:
    """The camera of a clip, so placed that it sees the incident, and its film."""
    rng = np.random.default_rng(plan.stream(1))
    key = float(rng.uniform(*KEYS_M))
    if traffic.incident is not None:
        key = _incident_x(traffic)
    camera = sample_camera(rng, ROAD, key, plan.height_share, plan.is_distorted, plan.downstream)
    shape = sample_shape(rng, camera.street, plan.surface)
    film_seed = int(np.random.default_rng(plan.stream(2)).integers(2**31))
    return camera, start_film(film_seed, camera, shape, plan.light, plan.frames)


def _incident_x(traffic: ClipTraffic) -> float:
    """Where on SUMO's map the culprit is in the middle of its incident, as far as the clip has it."""
    incident = traffic.incident
    assert incident is not None, "asked for clips with an incident"
    rows = traffic.table[traffic.table["vehicle"] == incident.vehicle]
    middle = (incident.onset + incident.end) / 2 - traffic.start_s
    return float(rows["x"].iloc[int((rows["t"] - middle).abs().argmin())])


def filmed_frames(
    plan: ClipPlan, film: Film, tracks: pd.DataFrame, labels: list[dict[str, Any]]
) -> Iterator[np.ndarray]:
    """The images of a clip in turn; what is seen in each is appended to `labels`.

    Plain rows: small arrays that stay would be cut out of the free blocks of earlier images, none of which could then
    hold an image again, and the heap would grow by an image a frame.
    """
    cv2.setNumThreads(1)
    groups = dict(iter(tracks.groupby("frame")))
    for frame in track(range(plan.frames), label=plan.name, every_s=REPORT_S):
        rows = groups.get(frame, tracks.iloc[:0])
        vehicles, boxes = filmed_vehicles(rows, film.camera, film.shape)
        image, visible = film.frame(frame, vehicles)
        labels += [{**row, "frame": frame} for row in label_rows(vehicles, boxes, visible, film.camera)]
        yield image


def incident_records(
    plan: ClipPlan, traffic: ClipTraffic, camera: ClipCamera, table: pd.DataFrame
) -> list[dict[str, Any]]:
    """What incidents.json says: times in s of the clip, the culprit, where it was, when it was in view."""
    incident = traffic.incident
    if incident is None:
        return []
    start, end = incident.onset - traffic.start_s, min(incident.end - traffic.start_s, plan.seconds)
    rows = traffic.table[(traffic.table["vehicle"] == incident.vehicle) & traffic.table["t"].between(start, end)]
    places = camera.to_ground(rows[["x", "y"]].to_numpy())
    seen = table[(table["vehicle"] == incident.vehicle) & table["t"].between(start, end)]
    return [
        {
            "kind": incident.kind,
            "severity": incident.severity,
            "level": incident.level,
            "vehicles": [incident.vehicle],
            "ids": sorted({int(number) for number in seen["id"]}),
            "start_s": round(start, 1),
            "end_s": round(end, 1),
            "in_view_s": [float(seen["t"].min()), float(seen["t"].max())] if len(seen) else [],
            "from_xy": [round(float(v), 3) for v in places[0]],
            "to_xy": [round(float(v), 3) for v in places[-1]],
        }
    ]


def clip_record(plan: ClipPlan, traffic: ClipTraffic, film: Film) -> dict[str, Any]:
    """What clips.json says of a clip."""
    camera = film.camera
    return {
        "name": plan.name, "split": plan.split, "camera": plan.name, "seed": plan.seed, "fps": FPS,
        "frames": plan.frames, "light": plan.light, "distorted": plan.is_distorted, "slope": plan.surface,
        "sizes": plan.sizes, "scenario": plan.scenario, "limit_mps": plan.limit, "incident": plan.incident,
        "looks": "downstream" if plan.downstream else "upstream", "height_m": camera.view.height_m,
        "pitch_deg": round(float(np.rad2deg(camera.view.pitch_rad)), 5),
        "roll_deg": round(float(np.rad2deg(camera.view.roll_rad)), 5),
        "plane_deviation": {key: round(value, 4) for key, value in film.shape.deviation().items()},
        "sumo_start_s": traffic.start_s, "camera_s_m": camera.x_m, "collisions": traffic.collisions,
        "ground_from_sumo": camera.ground_from_sumo().round(12).tolist(),
    }  # fmt: skip


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path, "w", sync=False) as file:
        table.to_csv(file, index=False, lineterminator="\n", float_format="%.6f")
