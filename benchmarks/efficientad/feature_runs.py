"""Runs without training on frozen features: PatchCore with the keys of its config, PaDiM and a PCA beside it."""

import argparse
import time
from collections.abc import Sequence
from hashlib import sha256

from detectron2.modeling import build_model
from torch import nn

from benchmarks.common.records import read_record
from benchmarks.efficientad.anomalib_models import ANOMALIB_MODELS, train_anomalib
from benchmarks.efficientad.anomaly_results import FINAL, record_test, run_test
from benchmarks.efficientad.anomaly_runs import PROGRAMS, Run, Teacher, run_name
from benchmarks.efficientad.feature_baselines import FEATURE_MODELS, build_feature_baseline
from d2road.config import default_argument_parser, setup_cfg
from efficientad.modeling.feature_extractors import build_extractor

PATCHCORE = "patchcore"
FEATURE_VARIANTS = (PATCHCORE, *FEATURE_MODELS, *ANOMALIB_MODELS)
PATCHCORE_CONFIG = "configs/efficientad/Base-PatchCore.yaml"  # the same keys for all data
NOTES = {
    PATCHCORE: "PatchCore with the keys of its config, the same for all data",
    "padim": "Gaussian of the same features at each place; score is the largest value of the smoothed map",
    "anomalib_patchcore": "anomalib's Patchcore, trained by its Engine on the same features; score and map are its own",
    "anomalib_padim": "anomalib's Padim, trained by its Engine on the same features; score and map are its own",
    "pca": "residual of the same features after a PCA; score is the largest value of the smoothed map",
}


def open_feature_run(
    bench: str, variant: str, opts: Sequence[object], args: argparse.Namespace, arguments: str, category: str = ""
) -> Run:
    """A run of one of `FEATURE_VARIANTS`; see `open_run`.

    Raises:
        FileNotFoundError, ValueError: data, weights or config cannot be used.
    """
    own = [str(value) for value in args.opts]
    given = (*map(str, opts), *own, "SEED", str(args.seed))
    name = variant + (f"+{sha256(' '.join(own).encode()).hexdigest()[:6]}" if own else "")
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", PATCHCORE_CONFIG, *given]))
    features = cfg.MODEL.PATCHCORE.FEATURES
    label = build_extractor(features, None, tuple(cfg.MODEL.PATCHCORE.LAYERS)).label
    teacher = Teacher("", f"features of {label}", features.replace(":", "_").replace("/", "_"), "")
    command = " ".join([f"python -m {PROGRAMS[bench]} {arguments} --seed {args.seed}", *own])
    place = run_name(teacher, name, args.seed, 0, category)
    return Run(bench, variant, place, cfg, PATCHCORE_CONFIG, given, teacher, command)


def evaluate_features(run: Run) -> None:
    """Fit, calibrate and test a run, unless it has a record."""
    if read_record(run.bench, f"{run.name}/{FINAL}") is not None:
        return
    start, model = time.perf_counter(), build_model(run.cfg).eval()
    fitted: dict = {}
    detector: nn.Module
    if run.variant == PATCHCORE:
        detector, fitted = model, model.fit(run.cfg)
    elif run.variant in ANOMALIB_MODELS:
        detector = train_anomalib(run.cfg, run.variant)
    else:
        detector = build_feature_baseline(run.cfg, model, run.variant)
    ready = time.perf_counter() - start
    tested = run_test(run.cfg, detector)
    record_test(
        run, FINAL, tested, start, steps=0, seconds_to_calibrated=round(ready, 1), fitted=fitted,
        note=NOTES[run.variant],
    )  # fmt: skip
