"""Networks on time-space images as streams: event recall at a rate of false alarms, beside the rules on equal windows.

python -m benchmarks.traffic.network_streams --hours 10 --incidents 80      20 good hours
python -m benchmarks.traffic.network_streams --table                        the record and the table of what is there

The best bank and the best student of `benchmarks.traffic.network_study`, which chose on validation windows: nearest
neighbours among features of EfficientNet-Lite0, and a narrow student of these that learns from the largest thousandth
of its errors, both on images with a panel for each lane. They learn from good windows of seed 1000 and compare scores
with others of these of the same density. Windows follow each other without overlap (every second one of the grid), so
that an hour costs half; rules are scored on the same. It goes on with the recordings that
`benchmarks.traffic.forecast_benchmark` with the same numbers leaves behind. The record is
benchmarks/results/traffic_rules/seed0_networks.json.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.common.records import record_path
from benchmarks.traffic.forecast_benchmark import FIT_HOURS, SEED
from benchmarks.traffic.rules_benchmark import FIT_SEED
from benchmarks.traffic.rules_results import BENCH, SECOND, Scored, keep_results, measure, write_table
from benchmarks.traffic.rules_versions import second_version
from benchmarks.traffic.rules_windows import FOLDER, Piece, complete_hours, list_pieces, read_events, read_windows
from benchmarks.traffic.study_experiments import (
    Scale,
    Student,
    bank_score,
    embed,
    feature_scale,
    make_bank,
    student_errors,
    student_steps,
)
from benchmarks.traffic.study_windows import StudyWindow, cut
from d2road.traffic.events.event_metrics import check_events
from d2road.traffic.events.relative_scores import RelativeScores
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError, report_errors
from d2road.utils.output_files import atomic_write
from d2road.utils.progress import track
from d2road.utils.values import integer_option
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.pdn import PDN

VIEW = "stacked"
QUANTILE = 0.999  # of the student's loss
TRAIN, COMPARE = 288, 144  # good windows to learn from, as many as in the study, and to compare with
BANK, STUDENT = "bank", "student"
METHODS = {BANK: "nearest neighbours of images", STUDENT: "narrow student of images"}
WEIGHTS = FOLDER / "networks.pt"


@dataclass(frozen=True)
class Networks:
    """A bank and a student of the same features, with the scale of these."""

    bank: MemoryBank
    student: Student
    scale: Scale

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(N, 2) of images (H, W, 3), by METHODS."""
        return np.array(
            [
                [
                    bank_score(self.bank, features),
                    float(student_errors(self.student, image, features, self.scale).max()),
                ]
                for image, features in zip(images, embed(images))
            ]
        )


def read_grid(piece: Piece) -> pd.DataFrame:
    """The windows of a recording that follow each other without overlap, with what the rules look at."""
    frame = pd.read_csv(piece.path)
    return frame[pd.factorize(frame["t0"])[0] % 2 == 0].reset_index(drop=True)


def render(piece: Piece, frame: pd.DataFrame) -> list[np.ndarray]:
    """Images of windows of a recording."""
    table = Trajectories.from_parquet(piece.table_path)
    return [StudyWindow(cut(piece, table, one.t0, one.s0), "good").render(VIEW) for one in frame.itertuples()]


def draw_windows(pieces: Sequence[Piece]) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Images of good windows to learn from and others to compare with, and the densities of the latter."""
    frames = [read_grid(piece).assign(piece=number) for number, piece in enumerate(pieces)]
    order = np.random.default_rng(FIT_SEED).permutation(sum(map(len, frames)))[: TRAIN + COMPARE]
    chosen = pd.concat(frames, ignore_index=True).iloc[order].assign(place=np.arange(len(order)))
    images: dict[int, np.ndarray] = {}
    for number, group in chosen.groupby("piece"):
        images.update(zip(group["place"], render(pieces[number], group)))
    every = [images[place] for place in range(len(order))]
    return every[:TRAIN], every[TRAIN:], chosen["density"].to_numpy()[TRAIN:]


def learn(images: Sequence[np.ndarray]) -> Networks:
    """The networks from good images."""
    torch.manual_seed(FIT_SEED)
    features = torch.stack(embed(images))
    scale = feature_scale(features)
    *_, (_, student) = student_steps(images, features, scale, QUANTILE)
    return Networks(make_bank(features), student.eval(), scale)


def fitted(pieces: Sequence[Piece]) -> tuple[Networks, pd.DataFrame]:
    """The networks, and the scores and densities of good windows to compare with; learned where they are not there."""
    if not WEIGHTS.is_file():
        train, compare, density = draw_windows(pieces)
        networks = learn(train)
        scores: dict[str, Tensor] = {"density": torch.from_numpy(density.copy())}
        scores |= dict(zip(METHODS, torch.from_numpy(networks.scores(compare).T.copy())))
        with atomic_write(WEIGHTS) as file:
            torch.save(
                {
                    "bank": networks.bank.vectors,
                    "student": networks.student.state_dict(),
                    "scale": networks.scale,
                    "compare": scores,
                },
                file,
            )
    held = torch.load(WEIGHTS, weights_only=True)
    student = PDN("narrow", len(held["scale"][0]), padding=True).eval()
    student.load_state_dict(held["student"])
    compare = pd.DataFrame({name: values.numpy() for name, values in held["compare"].items()})
    return Networks(MemoryBank(held["bank"]), student, tuple(held["scale"])), compare


def scores_path(piece: Piece) -> Path:
    """Of the windows of a recording."""
    return piece.path.with_suffix(".networks.csv")


def score_pieces(pieces: Sequence[Piece], networks: Networks) -> None:
    """Score the recordings that have no scores yet."""
    todo = [piece for piece in pieces if piece.table_path.is_file() and not scores_path(piece).is_file()]
    for piece in track(todo, len(todo), "images of recordings", every_s=30):
        frame = read_grid(piece)
        found = pd.DataFrame(networks.scores(render(piece, frame)), columns=list(METHODS))
        with atomic_write(scores_path(piece), "w") as file:
            found.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def read_part(pieces: Sequence[Piece]) -> pd.DataFrame:
    """Windows of recordings, with the scores of METHODS."""
    frames = [pd.concat([read_grid(piece), pd.read_csv(scores_path(piece))], axis=1) for piece in pieces]
    return pd.concat(frames, ignore_index=True)


def evaluate(pieces: Sequence[Piece]) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of what has been scored, and what they are of.

    Raises:
        DataError: not one hour of each part is, or there is no incident.
    """
    fit = read_windows([piece for piece in pieces if piece.part == "fit"])

    def done(piece: Piece) -> bool:
        return scores_path(piece).is_file()

    hours = {part: list(complete_hours(list(pieces), part, done)) for part in ("threshold", "rate")}
    counts = {part: len(found) for part, found in hours.items()}
    incidents = [piece for piece in pieces if piece.part == "incidents" and done(piece)]
    if not all(counts.values()) or not incidents:
        raise DataError(f"hours {counts}, {len(incidents)} incidents: at least one of each is needed for a result")
    parts = [read_part([piece for hour in found for piece in hour]) for found in hours.values()] + [
        read_part(incidents)
    ]
    _, compare = fitted([])
    scored = {SECOND: Scored(*(part.assign(score=second_version(fit, part)) for part in parts))}
    for method, row in METHODS.items():
        relative = RelativeScores(compare["density"], compare[method])
        scored[row] = Scored(*(part.assign(score=part[method]) for part in parts))
        scored[f"{row}, relative to density"] = Scored(
            *(part.assign(score=relative(part["density"], part[method])) for part in parts)
        )
    pairs = [(SECOND, name) for name in scored if name != SECOND]
    metrics = measure(scored, check_events(read_events(incidents)), counts, pairs)
    return metrics, {"hours": {"fit": FIT_HOURS, **counts}, "events": len(incidents)}


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=integer_option(1), default=10, help="for thresholds, and again for rates; 10")
    parser.add_argument("--incidents", type=integer_option(8), default=80, help="80")
    parser.add_argument("--table", action="store_true", help="score nothing: the record of what is there")
    args = parser.parse_args(argv)
    pieces = list_pieces(SEED, FIT_SEED, FIT_HOURS, args.hours, args.incidents)
    if not args.table:
        networks, _ = fitted([piece for piece in pieces if piece.part == "fit"])
        score_pieces([piece for piece in pieces if piece.part != "fit"], networks)
    name = f"seed{SEED}_networks"
    command = f"python -m benchmarks.traffic.network_streams --hours {args.hours} --incidents {args.incidents}"
    keep_results(BENCH, name, partial(evaluate, pieces), write_table, command=command, seed=SEED)
    print(f"record: {record_path(BENCH, name)}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
