"""Honesty of self-calibration: cameras simulated by tracks alone, errors against the deviations that were stated.

python -m benchmarks.traffic.calibration_simulation                    500 cameras, K given; then sizes 3 % too large
python -m benchmarks.traffic.calibration_simulation --cameras 20       a quick look, without a record

Cameras, roads, traffic and the errors of a detector are drawn anew for each, see `simulated_traffic.py`. What was
chosen (rows of a vehicle, loss, inflation) was chosen on seeds that begin with 7; these begin with 1900.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.common.records import write_record
from d2road.traffic.calibration.self_calibration import KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.simulated_traffic import draw_camera, simulate_traffic
from d2road.traffic.calibration.track_samples import sample_tracks
from d2road.utils.errors import DataError, report_errors
from d2road.utils.progress import track
from d2road.utils.values import integer_option

BENCH, SEED = "camera_calibration", 1900
NAMES = ("log_focal", "pitch", "roll", "log_height")
MODES = {"given_K": (None, True), "given_K_sizes_3_percent": (np.log(1.03), True), "unknown_K": (None, False)}


def calibrate_one(number: int, size_shift: float | None, known: bool) -> dict[str, float] | None:
    """Errors and deviations of one simulated camera; None where it was refused."""
    rng = np.random.default_rng([SEED, number])
    camera = draw_camera(rng)
    observations = simulate_traffic(camera, rng, size_shift=size_shift)
    lens = KnownLens(camera.K) if known else KnownLens.unknown(camera.width, camera.height)
    try:
        found = calibrate_from_tracks(sample_tracks(observations), lens).camera
    except DataError:
        return None
    errors = (
        np.log(found.K[0, 0] / camera.K[0, 0]),
        found.pitch_rad - camera.pitch_rad,
        found.roll_rad - camera.roll_rad,
        np.log(found.height_m / camera.height_m),
    )
    deviations = np.sqrt(np.diag(found.covariance))
    at = found.image_to_ground(camera.ground_to_image(np.array([0.0, 40.0])))
    row = {f"error_{name}": float(value) for name, value in zip(NAMES, errors)}
    row |= {f"std_{name}": float(value) for name, value in zip(NAMES, deviations)}
    row["horizon_px"] = float(found.pinhole.horizon_v(480.0) - camera.pinhole.horizon_v(480.0))
    return row | {"depth_40": float(at[1] / 40 - 1), "pole_m": camera.height_m}


def summary(rows: Sequence[dict[str, float]], drawn: int, known: bool) -> dict:
    """Shares within one and two deviations, mean deviations and median errors."""
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    names = NAMES[1:] if known else ("log_focal", "roll", "log_height")
    wide = {name: np.abs(table[f"error_{name}"]) / table[f"std_{name}"] for name in names}
    every = np.concatenate(list(wide.values()))
    degrees = {"pitch": np.rad2deg(1), "roll": np.rad2deg(1)}
    return {
        "cameras": len(rows),
        "refused": drawn - len(rows),
        "within_1": {"all": float((every < 1).mean()), **{n: float((w < 1).mean()) for n, w in wide.items()}},
        "within_2": {"all": float((every < 2).mean()), **{n: float((w < 2).mean()) for n, w in wide.items()}},
        "mean_deviation": {n: float(table[f"std_{n}"].mean() * degrees.get(n, 1)) for n in names},
        "median_error": {n: float(np.median(np.abs(table[f"error_{n}"])) * degrees.get(n, 1)) for n in names}
        | {n: float(np.nanmedian(np.abs(table[n]))) for n in ("horizon_px", "depth_40")},
    }


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, print and keep a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=integer_option(2), default=500, help="of each mode (default: 500)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: all")
    args = parser.parse_args(argv)
    for mode in args.modes:
        shift, known = MODES[mode]
        began = time.monotonic()
        numbers = track(range(args.cameras), args.cameras, mode, every_s=30)
        rows = [row for row in (calibrate_one(number, shift, known) for number in numbers) if row]
        metrics = summary(rows, args.cameras, known)
        print(mode, metrics, flush=True)
        if args.cameras >= 500:
            write_record(
                BENCH,
                f"simulation_{mode}",
                metrics=metrics,
                command=f"python -m benchmarks.traffic.calibration_simulation --modes {mode}",
                config="simulated tracks, 60 s at 5 frames a second",
                seed=SEED,
                seconds=time.monotonic() - began,
            )


if __name__ == "__main__":
    sys.exit(main())
