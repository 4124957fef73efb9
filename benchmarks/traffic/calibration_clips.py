"""Self-calibration on rendered clips: exact boxes with noise, and a detector's, beside the mean of per-image guesses.

python -m benchmarks.traffic.calibration_clips --clips ROOT [--predictions FOLDER] [--split test]

ROOT is a folder of `d2road make-data traffic-video`. FOLDER holds CLIP_no_plane.parquet for each clip that a detector
ran over (`clip_predictions --no-plane`): frame, t, cls, score, x1..y2, x, y, z (bottom centre, camera frame), h, w, l.
Of these, boxes, sizes and the pixel of the bottom centre are used, never depths; the modes "motion" take lines of what
moves in the video too. Errors are those against the exact camera.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import write_record
from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.evidence import Evidence
from d2road.traffic.calibration.image_tracks import link_in_image
from d2road.traffic.calibration.motion_evidence import MotionEvidence, evidence_of_motion
from d2road.traffic.calibration.observations import CalibrationObservations
from d2road.traffic.calibration.self_calibration import DETECTED, BoxErrors, KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.track_samples import MIN_SCORE, sample_tracks
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json
from d2road.video import VideoFile
from d2road.video.moving_lines import LineCollector

BENCH, SEED = "camera_calibration", 1
GUESSES = 60  # images for the mean of guesses
SIZE_SPREAD = 0.06
NOISE_PX, NOISE_SHARE = 0.7, 0.015  # of boxes and bottom centres of exact labels, in one frame; the same in all
LEAST_VISIBLE, LEAST_SCORE = 0.9, 0.18
Numbers = dict[str, float]


def exact_observations(folder: Path, camera: RoadsideCamera, every: int, seed: int) -> CalibrationObservations:
    """Vehicles that are hardly hidden, each N-th frame, with noise of a detector."""
    rows = pd.read_csv(folder / "tracks.csv")
    rows = rows[(rows["visible"] >= LEAST_VISIBLE) & (rows["truncated"] == 0) & (rows["frame"] % every == 0)].copy()
    rng = np.random.default_rng(seed)
    _, vehicle = np.unique(rows["id"].to_numpy(), return_inverse=True)
    std = np.hypot(NOISE_PX, NOISE_SHARE * (rows["y2"] - rows["y1"]).to_numpy())[:, None]
    same = rng.normal(size=(vehicle.max() + 1, 6))[vehicle] * std
    off = same + std * rng.normal(size=same.shape)
    height = rows["Z"].to_numpy() if "Z" in rows else np.zeros(len(rows))
    bottom = camera.ground_to_image(np.column_stack([rows["X"], rows["Y"], height]))
    rows[["x1", "y1", "x2", "y2"]] += off[:, :4]
    rows[["bottom_u", "bottom_v"]] = bottom + off[:, 4:]
    rows = rows[(rows["x2"] > rows["x1"] + 2) & (rows["y2"] > rows["y1"] + 2)]
    return CalibrationObservations.from_frame(rows.rename(columns={"id": "track"}).assign(score=1.0), 960, 540)


def detected_observations(path: Path, camera: RoadsideCamera, every: int) -> CalibrationObservations:
    """A detector's boxes, sizes and bottom centres in the pinhole image, linked in it."""
    rows = pd.read_parquet(path)
    good = (rows["frame"] % every == 0) & (rows["score"] >= LEAST_SCORE) & rows["cls"].isin(["car", "big_vehicle"])
    rows = rows[good].copy()
    pixels, _ = camera.pinhole.project(rows[["x", "y", "z"]].to_numpy())
    rows[["bottom_u", "bottom_v"]] = pixels
    for name in ("h", "w", "l"):
        rows[f"{name}_std"] = SIZE_SPREAD * rows[name]
    frame = rows.drop(columns=["alpha"]).assign(track=-1)
    return link_in_image(CalibrationObservations.from_frame(frame, 960, 540))


def motion_of(video: Path, camera: RoadsideCamera) -> list[MotionEvidence]:
    """What lines of what moves in a clip tell of its camera without distortion."""
    return next(motion_at(video, camera, [np.inf]))


def motion_at(video: Path, camera: RoadsideCamera, instants: Sequence[float]) -> Iterator[list[MotionEvidence]]:
    """The same of the clip up to each instant (s)."""
    lines, waiting = LineCollector(), list(instants)
    with VideoFile(video) as source:
        for frame in source:
            while waiting and frame.t >= waiting[0]:
                yield _told(lines, camera)
                waiting.pop(0)
            lines.add(frame.image_bgr)
    yield from (_told(lines, camera) for _ in waiting)


def _told(lines: LineCollector, camera: RoadsideCamera) -> list[MotionEvidence]:
    found = lines.lines()
    # Distortion is taken out here, for a detector's boxes are those of the image without it.
    return evidence_of_motion(found.paths, found.edges, Lens(camera.K, camera.distortion), camera.width)


def mean_of_guesses(observations: CalibrationObservations, lens: KnownLens) -> RoadsideCamera:
    """The median over images of the same estimate from the vehicles of one image, by their sizes alone."""
    guesses = []
    frames = list(observations.rows.groupby("frame"))
    for _, rows in frames[:: max(1, len(frames) // GUESSES)]:
        samples = sample_tracks(CalibrationObservations(rows.assign(track=-1), 960, 540), min_score=0.0)
        try:
            found = calibrate_from_tracks(samples, lens, ["sizes"], fewest=2)
        except DataError:
            continue
        guesses.append(found.state.theta)
    _, pitch, roll, log_height = np.median(guesses, axis=0)
    return RoadsideCamera(960, 540, lens.K, plane_from_angles(pitch, roll, float(np.exp(log_height))), lens.distortion)


def errors_of(found: RoadsideCamera, exact: RoadsideCamera) -> Numbers:
    """Errors in the units of the aims, and deviations where they are stated."""
    at = found.image_to_ground(exact.ground_to_image(np.array([0.0, 40.0])))
    numbers = {
        "horizon_px": float(found.pinhole.horizon_v(480.0) - exact.pinhole.horizon_v(480.0)),
        "pitch_deg": float(np.rad2deg(found.pitch_rad - exact.pitch_rad)),
        "roll_deg": float(np.rad2deg(found.roll_rad - exact.roll_rad)),
        "height": float(found.height_m / exact.height_m - 1),
        "depth_40": float(at[1] / 40 - 1),
        "focal": float(found.K[0, 0] / exact.K[0, 0] - 1),
        "pole_m": exact.height_m,
    }
    return numbers | {f"std_{name}": value for name, value in (found.deviations or {}).items()}


def judge(
    name: str,
    observations: CalibrationObservations,
    exact: RoadsideCamera,
    distorted: bool,
    motion: list[MotionEvidence],
) -> dict[str, Numbers]:
    """Errors of the mean of guesses and of self-calibration with K given and not, of boxes alone and with motion."""
    distortion = exact.distortion if distorted else np.zeros(5)
    given, unknown = KnownLens(exact.K, 0.0, distortion), KnownLens.unknown(960, 540)
    rows = {"guesses": errors_of(mean_of_guesses(observations, given), exact)}
    free = KnownLens(unknown.K, unknown.focal_std, distortion)
    modes: list[tuple[str, KnownLens, Sequence[Evidence]]] = [("given_K", given, []), ("unknown_K", free, [])]
    if motion:  # of an unknown lens: what it tells of the lens that is guessed
        guessed = [replace(one, lens=Lens(free.K, free.distortion)) for one in motion]
        modes += [("given_K_motion", given, motion), ("unknown_K_motion", free, guessed)]
    errors, least = (BoxErrors(), MIN_SCORE) if distorted else (DETECTED, 0.0)
    for mode, lens, evidence in modes:
        try:
            samples = sample_tracks(observations, min_score=least)
            result = calibrate_from_tracks(samples, lens, evidence=evidence, errors=errors)
        except DataError as error:
            print(f"{name} {mode}: {error}", flush=True)
            continue
        rows[mode] = errors_of(result.camera, exact) | {"vehicles": float(result.samples.vehicles)}
    for mode, row in rows.items():
        print(name, mode, {key: round(value, 3) for key, value in row.items()}, flush=True)
    return rows


def summary(clips: dict[str, dict[str, Numbers]]) -> dict[str, Numbers]:
    """Median absolute errors by mode."""
    result: dict[str, Numbers] = {}
    for mode in ("guesses", "given_K", "unknown_K", "given_K_motion", "unknown_K_motion"):
        rows = pd.DataFrame([clip[mode] for clip in clips.values() if mode in clip])
        if rows.empty:
            continue
        names = [n for n in ("horizon_px", "pitch_deg", "roll_deg", "height", "depth_40", "focal") if n in rows]
        result[mode] = {name: float(rows[name].abs().median()) for name in names} | {"clips": float(len(rows))}
    return result


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate the clips of a split, print and keep a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, help="folder with a detector's CLIP_no_plane.parquet")
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--every", type=int, default=2, help="take each N-th frame (default: 2)")
    parser.add_argument("--names", nargs="*", help="clips of the split; all unless given")
    parser.add_argument("--record", default="", help="name of the record; none is written without")
    args = parser.parse_args(argv)
    began, clips = time.monotonic(), {}
    for about in read_json(args.clips / "clips.json"):
        folder = args.clips / about["split"] / about["name"]
        stored = args.predictions / f"{about['name']}_no_plane.parquet" if args.predictions else None
        if (
            about["split"] != args.split
            or (args.names and about["name"] not in args.names)
            or (stored is not None and not stored.is_file())
        ):
            continue
        exact = read_roadside_camera(folder)
        if stored is None:
            observations, motion = exact_observations(folder, exact, args.every, SEED), []
        else:
            observations = detected_observations(stored, exact, args.every)
            motion = motion_of(folder / "video.mp4", exact)
        clips[about["name"]] = judge(about["name"], observations, exact, stored is None, motion)
    metrics = {"median": summary(clips), "clips": clips}
    print(metrics["median"], flush=True)
    if args.record:
        command = f"python -m benchmarks.traffic.calibration_clips --split {args.split}"
        command += " --predictions FOLDER" if args.predictions else ""
        write_record(
            BENCH,
            args.record,
            metrics=metrics,
            command=command,
            config="clips of make-data traffic-video, 60 s",
            seed=SEED,
            seconds=time.monotonic() - began,
        )


if __name__ == "__main__":
    sys.exit(main())
