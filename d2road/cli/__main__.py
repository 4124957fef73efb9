"""The command `d2road`: finds the module of a verb and runs it."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from d2road import __version__
from d2road.utils.errors import USER_ERROR, report_errors

# Verb -> group, help in a line. Verb a-b is module d2road.cli.a_b, with build_parser() and main(argv).
VERBS = {
    "train": ("train & evaluate", "train a model, or go on with a training"),
    "eval": ("train & evaluate", "evaluate a trained model on its test data"),
    "report": ("train & evaluate", "write one HTML page of a training, an evaluation, a tracked or a watched video"),
    "predict": ("predict", "run a model over images, folders, videos and sentences, and draw what it finds"),
    "calibrate-camera": ("predict", "calibrate a fixed roadside camera by its traffic, map points, known lengths"),
    "track": ("predict", "track vehicles of a roadside video or stream in metres, with speeds"),
    "search-video": ("predict", "find moments of a tracked video by a sentence, and cut them as clips"),
    "web": ("predict", "serve a page in the browser that asks models about uploaded files"),
    "accept": ("predict", "add good images that were called anomalous to a model, with an audit trail"),
    "check-data": ("data", "check a data set before training on it: files, boxes, 3D labels, ground plane"),
    "visualize-data": ("data", "draw the labels of a data set, alone or with predictions"),
    "make-data": ("data", "make toy data, sentences over labelled data, or lists of frames"),
    "eval-kitti": ("judge prediction files", "KITTI's AP: 2D, orientation, bird's-eye view, 3D"),
    "eval-rope": ("judge prediction files", "Rope3D's ACS, AOS, AAS, AGS, AP and Rope score"),
    "eval-grounding": ("judge prediction files", "3D grounding: accuracy, F1, N-acc, T-acc"),
    "eval-anomaly": ("judge prediction files", "anomaly maps: AUROC, AU-PRO, sPRO, F1"),
    "convert": ("convert & export", "import models, grounding data and 2D boxes of other programs"),
    "export": ("convert & export", "write a model for onnxruntime, OpenVINO or torch.export, or in lower precision"),
    "export-check": ("convert & export", "run an exported file on its own test images, against what the model found"),
    "render-trajectories": ("traffic", "draw trajectories as time-space images to train on or to score"),
    "score-stream": ("traffic", "score traffic as it is recorded, and print alarms"),
    "watch": ("traffic", "watch a roadside camera: alarms with image, clip and a sentence, to files and others"),
    "zoo": ("help", "models that are shipped, by name: list, info NAME, verify"),
    "quickstart": ("help", "toy data, a training, drawings (`make demo`); --video: a clip to tracks and alarms"),
    "env": ("help", "what a bug report needs: versions, devices, data sets"),
}


def overview() -> str:
    """The text of `d2road --help`: the verbs by group."""
    lines = ["usage: d2road VERB [OPTION ...] [KEY VALUE ...]", "", "Perception for roadside cameras and driving."]
    group = ""
    for verb, (its_group, text) in VERBS.items():
        if its_group != group:
            group = its_group
            lines += ["", f"{group}:"]
        lines.append(f"  {verb:<21}{text}")
    lines += ["", "`d2road VERB --help` has options and examples; `d2road --version` prints the version.", ""]
    lines += ["Exit codes: 0; 1 for a bug, or for what a verb is there to find; 2 for an error that you can put right."]
    return "\n".join(lines)


def unknown_verb(verb: str) -> str:
    """The message for a verb that does not exist, with the nearest one."""
    near = difflib.get_close_matches(verb.replace("_", "-").lower(), VERBS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"verbs are {', '.join(VERBS)}"
    return f"error: d2road has no verb {verb!r}; {hint}"


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run `d2road VERB ...`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"d2road {__version__}")
        return 0
    if words[:1] in (["--help"], ["-h"], ["help"]):
        if len(words) == 1:
            print(overview())
            return 0
        words = [words[1], "--help"]
    if not words:
        print(overview(), file=sys.stderr)
        return USER_ERROR
    verb, *rest = words
    if verb not in VERBS:
        print(unknown_verb(verb), file=sys.stderr)
        return USER_ERROR
    return importlib.import_module(f"d2road.cli.{verb.replace('-', '_')}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
