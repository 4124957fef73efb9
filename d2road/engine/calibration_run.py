"""One calibration by all that is given, and its folder: files of the camera, figures, check image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from d2road.data.roadside_camera_files import write_camera_folder
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.structures.upright_boxes import box_corners
from d2road.traffic.calibration.box_projection import Lens, ground_points
from d2road.traffic.calibration.evidence import Evidence, KnownLengths
from d2road.traffic.calibration.motion_evidence import evidence_of_motion
from d2road.traffic.calibration.observations import CalibrationObservations
from d2road.traffic.calibration.point_pose import PointPose, pose_from_points
from d2road.traffic.calibration.self_calibration import DETECTED, Calibration, KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.track_samples import sample_tracks
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_json
from d2road.video.moving_lines import MovingLines
from d2road.visualization.calibration_drawing import draw_calibration

REPORT, CHECK = "calibration.json", "check.jpg"
DRAWN = 10
# Of the log of the focal length: beside a few boxes that err alike, the horizon alone tells a wrong one.
WIDEST_FOCAL_STD = 0.2


@dataclass(frozen=True)
class CalibrationRun:
    """camera: the result. traffic, points: what vehicles and map points gave, None without."""

    camera: RoadsideCamera
    traffic: Calibration | None
    points: PointPose | None
    lengths: int

    def to_text(self) -> str:
        """The camera and its deviations in a few lines."""
        camera, std = self.camera, self.camera.deviations
        assert std is not None, "a calibration states its deviations"
        lines = [
            f"height {camera.height_m:.2f} +- {std['height_m']:.2f} m, "
            f"looks down {np.rad2deg(camera.pitch_rad):.2f} +- {std['pitch_deg']:.2f} degrees, "
            f"turned {np.rad2deg(camera.roll_rad):.2f} +- {std['roll_deg']:.2f} degrees, "
            f"focal length {camera.K[0, 0]:.0f} +- {std['focal_px']:.0f} px"
        ]
        if self.traffic is not None:
            lines.append(f"by {self.traffic.samples.vehicles} vehicles, boxes fit to {self.traffic.residual_px:.2f} px")
            if self.traffic.weak:
                lines.append(f"known hardly better than of any roadside camera: {', '.join(self.traffic.weak)}")
        if self.points is not None:
            lines.append(f"map points fit to {np.sqrt(np.mean(self.points.residual_px**2)):.2f} px (root mean square)")
        return "\n".join(lines)


def calibrate_by_all(
    observations: CalibrationObservations | None,
    points: tuple[np.ndarray, np.ndarray] | None,
    lengths: np.ndarray,
    size: tuple[int, int],
    lens: KnownLens,
    fit_distortion: bool = False,
    lines: MovingLines | None = None,
    is_detected: bool = False,
) -> CalibrationRun:
    """Calibrate by traffic, map points and known lengths, as far as they are given.

    Args:
        lines: of what moves, where a detector looked for the traffic in the same video.
        is_detected: whether the boxes are a detector's, which errs in all of them alike, and not exact with noise.
        points: pixels (N, 2) and metres (N, 2 or 3). lengths: (L, 6) u1, v1, u2, v2, metres, deviation.
    Raises:
        ConfigError: lengths alone. DataError: what tells no camera.
    """
    pose = None
    if points is not None:
        pose = pose_from_points(*points, size, lens.K, lens.distortion, lens.focal_std, fit_distortion)
        lens = KnownLens(lens.K, lens.focal_std, pose.camera.distortion)
    if observations is None and pose is None:
        raise ConfigError("known lengths alone tell no camera: give traffic or map points beside them")
    if observations is None:
        assert pose is not None
        if len(lengths):
            raise ConfigError("--length goes with traffic: map points tell the lengths already")
        return CalibrationRun(pose.camera, None, pose, 0)
    evidence: list[Evidence] = [pose.evidence] if pose is not None else []
    if len(lengths):
        bare = RoadsideCamera(*size, lens.K, np.array([0, -1.0, 0, 1]), lens.distortion)
        start, end = bare.undistort(lengths[:, :2]), bare.undistort(lengths[:, 2:4])
        optics = Lens(lens.K, lens.distortion)
        evidence.append(KnownLengths(start, end, lengths[:, 4], lengths[:, 5], optics))
    if lines is not None and lens.focal_std < WIDEST_FOCAL_STD:
        evidence += evidence_of_motion(lines.paths, lines.edges, Lens(lens.K, lens.distortion), size[0])
    if is_detected:
        samples = sample_tracks(observations, min_score=0.0)  # what the detector's user wants is there already
        traffic = calibrate_from_tracks(samples, lens, evidence=evidence, errors=DETECTED)
    else:
        traffic = calibrate_from_tracks(sample_tracks(observations), lens, evidence=evidence)
    return CalibrationRun(traffic.camera, traffic, pose, len(lengths))


def write_calibration(
    folder: Path, run: CalibrationRun, image_bgr: np.ndarray | None, notes: Sequence[str] = ()
) -> None:
    """Write the camera's files, calibration.json and, with an image, check.jpg.

    Args:
        notes: what the user should know of the video.
    """
    camera = run.camera
    write_camera_folder(folder, camera)
    write_json(
        folder / REPORT,
        {
            "height_m": camera.height_m,
            "pitch_deg": float(np.rad2deg(camera.pitch_rad)),
            "roll_deg": float(np.rad2deg(camera.roll_rad)),
            "focal_px": float(camera.K[0, 0]),
            "deviations": camera.deviations,
            "homography": camera.homography().tolist(),
            "horizon": camera.horizon().tolist(),
            "vehicles": run.traffic.samples.vehicles if run.traffic else 0,
            "residual_px": run.traffic.residual_px if run.traffic else None,
            "left_to_the_prior": list(run.traffic.weak) if run.traffic else [],
            "map_point_residuals_px": run.points.residual_px.tolist() if run.points else [],
            "known_lengths": run.lengths,
            "notes": list(notes),
        },
    )
    if image_bgr is not None:
        maps = camera.undistortion_maps() if camera.distortion.any() else None
        plain = image_bgr if maps is None else cv2.remap(image_bgr, *maps, cv2.INTER_LINEAR)
        drawn = draw_calibration(np.ascontiguousarray(plain[..., ::-1]), camera, _vehicle_corners(run))
        write_image(folder / CHECK, drawn)


def _vehicle_corners(run: CalibrationRun) -> np.ndarray:
    """(N, 8, 3) corners of up to ten vehicles, each where it was seen last, spread over the road."""
    if run.traffic is None:
        return np.zeros((0, 8, 3))
    state, samples, camera = run.traffic.state, run.traffic.samples, run.camera
    optics = Lens(camera.K * np.array([[np.exp(-state.theta[0]), 1, 1], [1, np.exp(-state.theta[0]), 1], [1, 1, 1]]),
                  camera.distortion)  # fmt: skip
    last = np.flatnonzero(np.diff(samples.vehicle, append=-1))
    at = ground_points(state.rows[last], state.theta, optics)
    order = np.argsort(at[:, 1])
    chosen = order[np.unique(np.linspace(0, len(order) - 1, DRAWN).round().astype(int))]
    vehicles = state.vehicles[samples.vehicle[last[chosen]]]
    ground = np.concatenate([at[chosen], np.zeros((len(chosen), 1))], axis=1)
    ry = camera.ry_of_heading(vehicles[:, 3])
    rotation = camera.pinhole.ground_rotation()
    return box_corners(camera.ground_to_camera(ground), np.exp(vehicles[:, :3]), ry, rotation)
