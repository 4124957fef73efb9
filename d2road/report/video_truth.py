"""Tracks and alarms against the truth of a rendered clip: speeds, what is found, which incidents are alarmed.

A vehicle of the truth and a track are one where they are near each other, frame by frame, as
`d2road.traffic.seeing.fit_seeing.match_clip` pairs them. An incident is alarmed where the window of an alarm overlaps
its time in view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.seeing.camera_site import FAR_M, NEAR_M
from d2road.traffic.seeing.fit_seeing import MatchedClip, match_clip
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.vehicle_summary import KMH
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.values import as_list, as_object

TRACKS, INCIDENTS = "tracks.csv", "incidents.json"
# Names of make-data traffic-video -> those of `match_clip`.
RENAMED = {"id": "vehicle", "X": "x", "Y": "y", "heading_rad": "heading", "speed_mps": "speed"}
LEAST_SHARE = 0.5  # of a vehicle that is visible, for it to count as one that can be found


@dataclass(frozen=True)
class AgainstTruth:
    """What a comparison gives.

    figures: names and values in words; speeds: a row a vehicle that was found: id, track, true_kmh, found_kmh, error;
    incidents: a row each: kind, time in view, what alarmed.
    """

    figures: list[tuple[str, str]]
    speeds: pd.DataFrame
    incidents: list[tuple[str, str, str]]


def compare_with_truth(
    clip: Path,
    tracks: GroundTracks,
    camera: RoadsideCamera,
    alarms: Sequence[Mapping[str, Any]],
    seconds: float,
    is_watch: bool = False,
) -> AgainstTruth:
    """Tracks and alarms against a clip of `d2road make-data traffic-video`.

    Args:
        clip: folder with tracks.csv and perhaps incidents.json. seconds: of the clip that were looked at.
    Raises:
        FileNotFoundError, DataError: there is no truth, or not of this clip.
    """
    truth = read_truth(clip)
    shown = truth[truth["t"] <= seconds + 1e-6]
    match = match_clip(shown, tracks.rows, camera, NEAR_M, FAR_M)
    speeds = speed_errors(match)
    figures = [*_found(match), *_speed_figures(speeds)]
    names = dict(zip(speeds["track"].astype(str), speeds["id"].astype(int)))
    path = clip / INCIDENTS
    incidents = as_list(read_json(path, "incidents"), str(path)) if path.is_file() else []
    told = [_incident(as_object(one, str(path)), alarms, names, is_watch) for one in incidents]
    return AgainstTruth(figures, speeds, told)


def read_truth(clip: Path) -> pd.DataFrame:
    """tracks.csv of a clip with the columns of `match_clip`.

    Raises:
        FileNotFoundError, DataError: no such file, or not such a table.
    """
    path = clip / TRACKS
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: --truth names a clip's folder of make-data traffic-video")
    table = pd.read_csv(path)
    missing = [name for name in (*RENAMED, "t", "length", "width", "height") if name not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}: it is no truth of make-data traffic-video")
    return table.drop(columns="vehicle", errors="ignore").rename(columns=RENAMED)


def speed_errors(match: MatchedClip) -> pd.DataFrame:
    """A row for each true vehicle that a track followed, the longest of them: id, track, speeds in km/h."""
    tracks = match.tracks[(match.tracks["truth"] >= 0) & match.tracks["seen"]]
    true = match.truth.iloc[tracks["truth"].to_numpy()]
    pairs = pd.DataFrame(
        {
            "id": true["vehicle"].to_numpy(),
            "track": tracks["track"].to_numpy(),
            "true_kmh": KMH * np.abs(true["speed"].to_numpy(float)),
            "found_kmh": KMH * tracks["speed"].to_numpy(float),
        }
    )
    by_track = pairs.groupby(["id", "track"]).agg(["median", "size"])
    found = pd.DataFrame(
        {
            "true_kmh": by_track["true_kmh"]["median"],
            "found_kmh": by_track["found_kmh"]["median"],
            "frames": by_track["true_kmh"]["size"],
        }
    ).reset_index()
    longest = found.sort_values("frames", ascending=False, kind="stable").drop_duplicates("id").sort_values("id")
    return longest.assign(error=longest["found_kmh"] - longest["true_kmh"]).reset_index(drop=True)


def _found(match: MatchedClip) -> list[tuple[str, str]]:
    truth = match.truth.assign(found=False)
    truth.loc[match.tracks.loc[match.tracks["truth"] >= 0, "truth"], "found"] = True
    visible = truth[truth["share"] >= LEAST_SHARE]
    inside = match.tracks[np.hypot(match.tracks["x"], match.tracks["y"]).between(NEAR_M, FAR_M)]
    names = visible["vehicle"].nunique()
    pairs = match.tracks[match.tracks["truth"] >= 0].groupby("track")["truth"]
    ids = match.truth["vehicle"].to_numpy()
    several = sum(len(set(ids[rows])) > 1 for _, rows in pairs)
    return [
        ("vehicles found at all", f"{visible.loc[visible['found'], 'vehicle'].nunique()} of {names}"),
        ("their rows found", _share(visible["found"])),
        ("rows of tracks on a vehicle", _share(inside["truth"] >= 0)),
        ("tracks that change from a vehicle to another", str(several)),
    ]


def _speed_figures(speeds: pd.DataFrame) -> list[tuple[str, str]]:
    if not len(speeds):
        return []
    error = speeds["error"].to_numpy()
    return [
        ("median error of a vehicle's speed", f"{np.median(np.abs(error)):.2f} km/h"),
        ("largest error of a vehicle's speed", f"{np.abs(error).max():.1f} km/h"),
        ("bias of speeds (median)", f"{np.median(error):+.2f} km/h"),
    ]


def _share(hits: pd.Series) -> str:
    return f"{hits.mean():.1%} of {len(hits)}" if len(hits) else "none there"


def _incident(
    incident: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]], names: Mapping[str, int], is_watch: bool
) -> tuple[str, str, str]:
    """Kind, time in view, and which alarms it has.

    Args:
        names: id of the true vehicle by track.
    """
    kind = str(incident.get("kind", "")).replace("_", " ")
    seen = incident.get("in_view_s") or []
    if len(seen) != 2:
        return kind, "not in view", "cannot be seen"
    start, end = (float(one) for one in seen)
    when = f"{start:.1f} to {end:.1f} s"
    if not is_watch:
        return kind, when, "not watched"
    mine = [one for one in alarms if float(one["start"]) <= end and float(one["end"]) >= start]
    if not mine:
        return kind, when, "no alarm"
    ids = set(incident.get("ids") or [])
    told = ", ".join(str(one["id"]) for one in mine)
    if any(_names_one_of(one, ids, names) for one in mine):
        return kind, when, f"alarm {told}, naming its vehicle"
    if any(_names_one_of(anew, ids, names) for one in mine for anew in one.get("named_anew", ())):
        return kind, when, f"alarm {told}, naming its vehicle once it was named anew"
    return kind, when, f"alarm {told}, not naming its vehicle"


def _names_one_of(alarm: Mapping[str, Any], ids: set[int], names: Mapping[str, int]) -> bool:
    """Whether an alarm is about one of these true vehicles."""
    culprits = [vehicle for vehicle in alarm.get("vehicles", []) if vehicle.get("culprit")]
    return any(names.get(str(vehicle.get("track"))) in ids for vehicle in culprits)
