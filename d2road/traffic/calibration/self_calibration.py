"""Self-calibration: maximum likelihood of camera, vehicles and tracks by Gauss-Newton, with honest standard deviations.

    tracks    straight tracks along few directions of traffic: their vanishing points
    sizes     boxes of vehicles of usual sizes at many distances
    more      map points, known lengths: see `evidence.py`

Errors of one vehicle in many frames are alike, so the covariance is that of independent vehicles (a sandwich over
them), and the common error of all sizes keeps its prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.estimate_covariance import INFLATION, considered, robust_loss, sandwich
from d2road.traffic.calibration.evidence import Evidence, total, wide_prior
from d2road.traffic.calibration.first_guess import first_plane, start_state
from d2road.traffic.calibration.track_model import OUTLIER, Linearised, Noise, TrackModel, TrackState
from d2road.traffic.calibration.track_samples import TrackSamples
from d2road.utils.errors import DataError

WAYS = ("tracks", "sizes")
FEWEST_VEHICLES = 6
FOCAL_GUESSES = (0.8, 1.1, 1.5, 2.1)  # over the width of the image, where nothing is known of it
UNKNOWN_FOCAL_STD = 0.5
ITERATIONS, ROUNDS = 12, 3
# What deviations of noise are taken to be before the residuals tell, and never less than.
EDGE_PX, EDGE_SHARE, BOTTOM_FACTOR, SMALLEST_PX = 0.8, 0.015, 1.5, 0.2
ACROSS = 0.03  # wander within the lane, in heights of the camera
HEADING_RAD = np.deg2rad(0.4)  # of single vehicles against their direction of traffic
MOST_STRAY, MOST_TURN, FEWEST_STRAIGHT = 1.5, 3.0, 0.4  # deviations, deviations, share of the vehicles
LOOSE_ACROSS, LOOSE_HEADING_RAD = 0.1, np.deg2rad(4.0)  # where tracks serve only as headings of vehicles


@dataclass(frozen=True)
class Calibration:
    """A calibrated camera and how it came about.

    camera: with its covariance. state, samples: values of all unknowns, and the rows that they fit. direction (J,): of
    traffic, -1 none. residual_px: median distance of box edges. weak: numbers that the evidence leaves to the prior.
    """

    camera: RoadsideCamera
    state: TrackState
    samples: TrackSamples
    direction: np.ndarray
    residual_px: float
    weak: tuple[str, ...]


@dataclass(frozen=True)
class BoxErrors:
    """How boxes err beside their noise.

    Args:
        outlier: deviations at which a residual counts half as much.
        independent: vehicles; more of them tell no more. A detector errs in all its boxes alike, by pixels that change
            with distance, class and side, which no number of vehicles averages away.
        sink: deviation of what measured bottom centres may all be too low by, in heights of their boxes; considered
            where the focal length is an unknown, which follows it.
    """

    outlier: float = OUTLIER
    independent: float = np.inf
    sink: float = 0.0

    def share(self, vehicles: int) -> float:
        """Of the information of so many independent vehicles, what these have."""
        return 1 / (1 + vehicles / self.independent)


DETECTED = BoxErrors(3.0, 10.0, 0.04)  # chosen on validation clips


@dataclass(frozen=True)
class KnownLens:
    """What is known of the lens: K (3, 3), the deviation of its log focal length (0: exact), distortion (5,)."""

    K: np.ndarray
    focal_std: float = 0.0
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))

    @classmethod
    def unknown(cls, width: int, height: int) -> "KnownLens":
        """Nothing is known: the axis in the middle of the image."""
        K = np.array([[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]])
        return cls(K, UNKNOWN_FOCAL_STD)


def calibrate_from_tracks(
    samples: TrackSamples,
    lens: KnownLens,
    ways: Sequence[str] = WAYS,
    evidence: Sequence[Evidence] = (),
    fewest: int = FEWEST_VEHICLES,
    errors: BoxErrors = BoxErrors(),  # noqa: B008 - frozen
) -> Calibration:
    """Camera of maximum likelihood for tracked vehicles and other evidence.

    Raises:
        DataError: fewer vehicles than `fewest`, or none of a plane that a camera above a road could see.
    """
    if samples.vehicles < fewest:
        raise DataError(
            f"{samples.vehicles} vehicles of known size were seen whole and well enough, at least {fewest} are needed: "
            "use a longer or busier part of the video, or give map points or a known length"
        )
    if not set(ways) or not set(ways) <= set(WAYS):
        raise DataError(f"ways are {list(ways)}, expected some of {', '.join(WAYS)}")
    optics = Lens(lens.K, lens.distortion)
    samples = samples if "sizes" in ways else _without_boxes(samples)
    every, share = [wide_prior(lens.focal_std), *evidence], errors.share(samples.vehicles)
    best: tuple[float, TrackModel, TrackState] | None = None
    for log_focal in _focal_guesses(lens, samples.width):
        theta = first_plane(samples, optics, log_focal)
        if theta is None:
            continue
        state, direction = start_state(samples, optics, theta)
        model = _model_at(samples, optics, direction, state, ways, errors)
        state, linear = minimise(model, state, every, lens.focal_std > 0, share)
        value = share * linear.reduced.cost + total(every, state.camera)[2]
        if best is None or value < best[0]:
            best = value, model, state
    if best is None:
        raise DataError("the vehicles lie on no plane below the camera: are their boxes those of this video?")
    model, state = best[1:]
    straight = _straight_vehicles(model, state) if "tracks" in ways else np.ones(samples.vehicles, dtype=bool)
    if not straight.all() and straight.sum() >= max(fewest, FEWEST_STRAIGHT * len(straight)):
        samples = samples.of_vehicles(straight)
        state, direction = start_state(samples, optics, state.theta)
        model = _model_at(samples, optics, direction, state, ways, errors)
        state, _ = minimise(model, state, every, lens.focal_std > 0, share)
    return _finish(model, state, every, lens, ways, errors)


def _model_at(
    samples: TrackSamples,
    optics: Lens,
    direction: np.ndarray,
    state: TrackState,
    ways: Sequence[str],
    errors: BoxErrors,
) -> TrackModel:
    """The likelihood with the noise to begin with."""
    model = TrackModel(samples, optics, direction, _first_noise(samples, ways), errors.outlier)
    return model.with_noise(_with_across(model, state, ACROSS if "tracks" in ways else LOOSE_ACROSS))


def _straight_vehicles(model: TrackModel, state: TrackState) -> np.ndarray:
    """(J,) False for vehicles that change lanes or turn: the boxes of a long one then follow no single heading."""
    vehicle = model.samples.vehicle
    across = model.residuals(state)[:, 6]
    stray = np.sqrt(np.bincount(vehicle, across**2) / np.bincount(vehicle))
    turn = np.abs(model.prior_residuals(state)[:, 3])
    return (stray < MOST_STRAY) & (turn < MOST_TURN) & (model.direction >= 0)


def minimise(
    model: TrackModel, state: TrackState, evidence: Sequence[Evidence], free_focal: bool, share: float = 1.0
) -> tuple[TrackState, Linearised]:
    """Damped Gauss-Newton; returns the last state and its normal equations.

    Args:
        share: of what the vehicles tell that is believed, see `BoxErrors`.
    """
    damping = 1e-4
    linear, (A_more, b_more, cost_more) = model.linearise(state), total(evidence, state.camera)
    for _ in range(ITERATIONS):
        A = share * linear.reduced.information.sum(axis=0) + A_more
        b = share * linear.reduced.gradient.sum(axis=0) + b_more
        use: np.ndarray = np.ones(len(b), dtype=bool)
        use[0] = free_focal
        cost, moved, small = share * linear.reduced.cost + cost_more, False, False
        for _ in range(6):
            move = np.zeros(len(b))
            damped = A[np.ix_(use, use)] + damping * np.diag(np.diag(A)[use])
            move[use] = -np.linalg.solve(damped, b[use])
            trial = linear.stepped(state, move, 1 / (1 + damping))
            if share * model.cost(trial) + total(evidence, trial.camera)[2] < cost:
                small = bool(np.abs(move[:4]).max() < 1e-5)
                state, damping, moved = trial, damping / 10, True
                break
            damping *= 10
        if not moved:
            break
        linear, (A_more, b_more, cost_more) = model.linearise(state), total(evidence, state.camera)
        if small:
            break
    return state, linear


def _finish(
    model: TrackModel,
    state: TrackState,
    evidence: Sequence[Evidence],
    lens: KnownLens,
    ways: Sequence[str],
    errors: BoxErrors,
) -> Calibration:
    """Re-estimate the noise from residuals a few times, minimise again, and state the deviations."""
    free, share = lens.focal_std > 0, errors.share(model.samples.vehicles)
    for _ in range(ROUNDS):
        model = model.with_noise(_noise_of(model, state, ways))
        state, linear = minimise(model, state, evidence, free, share)
    covariance, weak = sandwich(linear, total(evidence, state.camera)[0], free, share)
    covariance = covariance * (INFLATION * robust_loss(model.residuals(state), model.outlier)) ** 2
    if free:
        moves = considered(linear, total(evidence, state.camera)[0], share)
        covariance = covariance + errors.sink**2 * np.outer(moves, moves)
    log_focal, pitch, roll, log_height = state.theta
    K = lens.K.copy()
    K[[0, 1], [0, 1]] *= np.exp(log_focal)
    if not (-0.2 < pitch < 1.4 and 0.5 < np.exp(log_height) < 100):
        raise DataError(
            f"the traffic fits best to a camera {np.exp(log_height):.1f} m high that looks {np.rad2deg(pitch):.1f} "
            "degrees down, which no roadside camera does: are the boxes those of vehicles, and K that of this video?"
        )
    samples = model.samples
    camera = RoadsideCamera(
        samples.width,
        samples.height,
        K,
        plane_from_angles(pitch, roll, float(np.exp(log_height))),
        lens.distortion,
        covariance[:4, :4],
    )
    edges = model.residuals(state)[:, :4] * model.noise.edges
    residual = float(np.median(np.abs(edges[samples.edges]))) if samples.edges.any() else 0.0
    return Calibration(camera, state, samples, model.direction, residual, weak)


def _focal_guesses(lens: KnownLens, width: int) -> list[float]:
    """Logs of focal lengths over that of K to begin with."""
    if lens.focal_std < 0.2:
        return [0.0]
    return [float(np.log(guess * width / lens.K[0, 0])) for guess in FOCAL_GUESSES]


def _without_boxes(samples: TrackSamples) -> TrackSamples:
    """Tracks of the middle of the lower edge, where nothing else was measured; sizes tell nothing."""
    low = np.stack([(samples.boxes[:, 0] + samples.boxes[:, 2]) / 2, samples.boxes[:, 3]], axis=1)
    bottom = np.where(np.isfinite(samples.bottom), samples.bottom, low)
    return replace(samples, bottom=bottom, edges=np.zeros_like(samples.edges))


def _first_noise(samples: TrackSamples, ways: Sequence[str]) -> Noise:
    edges = np.hypot(EDGE_PX, EDGE_SHARE * samples.box_heights)[:, None] * np.ones(4)
    bottom = BOTTOM_FACTOR * edges[:, :2]
    heading = HEADING_RAD if "tracks" in ways else LOOSE_HEADING_RAD
    return Noise(edges, bottom, np.ones(len(bottom)), heading)


def _with_across(model: TrackModel, state: TrackState, across: float) -> Noise:
    """Noise of tracks that stray so far, in heights of the camera, beside their lines."""
    return replace(model.noise, across=across * model.height_px(state))


def _noise_of(model: TrackModel, state: TrackState, ways: Sequence[str]) -> Noise:
    """Deviations of pixels by the median of absolute residuals.

    The unknowns of rows and vehicles take up a share of what pixels and tracks disagree by, which is given back. One
    factor for all: each kind by itself, those that the unknowns follow most closely would seem exact.
    """
    r, old, samples = model.residuals(state), model.noise, model.samples
    count = np.bincount(samples.vehicle)
    tracked = count[samples.vehicle] > 3  # a single row fits itself
    measured = (r[tracked] != 0) & (np.abs(r[tracked]) < 1e6)
    unknowns = 2 * tracked.sum() + 5 * (count > 3).sum()
    share = max(1 - unknowns / max(int(measured.sum()), 1), 0.2)
    size = np.abs(r[tracked][measured]) / np.sqrt(share)
    factor = 1.4826 * float(np.median(size)) if len(size) > 20 else 1.0
    factor = float(np.clip(factor, 0.3, 4))
    edges, bottom = np.maximum(old.edges * factor, SMALLEST_PX), np.maximum(old.bottom * factor, SMALLEST_PX)
    per_height = model.height_px(state)
    if "tracks" not in ways:
        return Noise(edges, bottom, LOOSE_ACROSS * per_height, old.heading)
    return Noise(edges, bottom, ACROSS * per_height, HEADING_RAD)
