"""Good traffic as a clip's camera would see it, for hours: simulated, and put through a model of seeing.

A threshold for alarms needs hours of good traffic of the same view. Rendering and tracking them takes a day; driving
them and seeing them by `d2road.traffic.seeing` takes minutes. What comes is the trajectory table that a tracker's
output becomes, piece by piece: FOLDER/piece_000.parquet and so on.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.synthetic.traffic_incidents.simulate import simulate_good
from d2road.synthetic.traffic_video.clip_traffic import ROAD, clip_scenario
from d2road.traffic.seeing.camera_site import FAR_M, NEAR_M, CameraSite
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import keep_frames, see_tracks
from d2road.traffic.table import Trajectories
from d2road.utils.environment import processor_seconds
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder, write_json
from d2road.utils.parallel import run_recorded

PIECE_S = 900.0
FRAME_S = 0.2
STREAM = 77  # of random numbers, apart from those of clips


@dataclass(frozen=True)
class SeenPiece:
    """A piece of good traffic to make.

    folder: of the pieces; number: of this one; clip: folder of the clip whose camera sees it; about: the clip's record
    in clips.json; model: of seeing, as `SeeingModel.to_json` has it; seed: decides all.
    """

    folder: str
    number: int
    clip: str
    about: Mapping[str, Any]
    model: Mapping[str, Any]
    seed: int

    @property
    def path(self) -> Path:
        """Of its table."""
        return Path(self.folder) / f"piece_{self.number:03d}.parquet"

    @property
    def record(self) -> Path:
        """The file that says that it is complete."""
        return self.path.with_suffix(".json")


def site_of_clip(camera: RoadsideCamera, about: Mapping[str, Any]) -> CameraSite:
    """Where a clip's camera stands along SUMO's road.

    Args:
        about: the clip's record in clips.json.
    Raises:
        DataError: the calibration has not the lanes of that road.
    """
    road = camera.road
    if road is None or len(road.directions) != len(ROAD.lanes):
        raise DataError(f"the camera of {about['name']} knows no road of {len(ROAD.lanes)} lanes: make the clip anew")
    middles = (road.borders_m[:-1] + road.borders_m[1:]) / 2
    lanes = dict(zip(ROAD.lanes, middles.tolist()))
    return CameraSite(camera, float(about["camera_s_m"]), 1, lanes, NEAR_M, FAR_M)


def make_piece(piece: SeenPiece) -> None:
    """Drive, see and write one piece; its record comes last.

    Raises:
        FileNotFoundError, RuntimeError: SUMO is not installed, or fails.
    """
    start = processor_seconds()
    about = piece.about
    site = site_of_clip(read_roadside_camera(piece.clip), about)
    scenario = clip_scenario(about["scenario"], about["limit_mps"], about["sizes"])
    drive_rng, see_rng = (np.random.default_rng([piece.seed, STREAM, piece.number, part]) for part in range(2))
    with tempfile.TemporaryDirectory(prefix="seen_traffic.") as work:
        table = keep_frames(simulate_good(Path(work), scenario, drive_rng, PIECE_S, FRAME_S).table, FRAME_S)
    seen = see_tracks(table, site, SeeingModel.from_json(piece.model, "model of seeing"), see_rng)
    named = seen.frame.assign(recording=f"piece_{piece.number:03d}")
    Trajectories.from_frame(named).to_parquet(piece.path)
    took = round(processor_seconds() - start, 2)
    found = {"rows": len(seen), "vehicles": int(named["vehicle"].nunique()), "processor_seconds": took}
    write_json(piece.record, found)


def make_seen_traffic(
    folder: Path, clip: Path, about: Mapping[str, Any], model: SeeingModel, hours: float, seed: int, workers: int
) -> tuple[list[Path], float]:
    """Make so many hours of seen good traffic, or what is missing of them.

    Args:
        clip: its folder. about: its record in clips.json.
    Returns:
        the tables in order; seconds of processor, SUMO's too, that those took that this call made.
    Raises:
        FileNotFoundError, RuntimeError: as `make_piece`.
    """
    count = max(1, round(hours * 3600 / PIECE_S))
    make_folder(folder)
    pieces = [SeenPiece(str(folder), i, str(clip), dict(about), model.to_json(), seed) for i in range(count)]
    todo, records = run_recorded(make_piece, pieces, workers, "good traffic")
    made = {piece.number for piece in todo}
    took = sum(record["processor_seconds"] for piece, record in zip(pieces, records) if piece.number in made)
    return [piece.path for piece in pieces], took
