"""Every verb that reads files with small valid input: what a test or a fuzzer damages before it starts the verb.

    for case in VERB_INPUTS:
        prepared = case.prepare(folder)          # writes the files; `folder` must be empty
        damage(prepared.files[0])
        code = d2road.cli.__main__.main(prepared.argv)

With the files as they are the verb ends with `case.code`; with damaged ones it may end with 0, 1 or 2 and says which
file it was, and it never ends with a traceback.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.factories import verb_files as files


@dataclass(frozen=True)
class Prepared:
    """A command line and the files that it reads, in the order of `VerbInput.reads`."""

    argv: list[str]
    files: list[Path]


@dataclass(frozen=True)
class VerbInput:
    """A call of a verb.

    Attributes:
        verb: of `d2road.cli.__main__.VERBS`.
        name: tells the calls of a verb apart.
        line: its words; {d} is the folder of the files, {o} one for outputs.
        make: writes the files into a folder.
        reads: those that it reads, below the folder.
        code: exit code with the files as they are.
        first: the words of a call before it, which leaves files for it.
    """

    verb: str
    name: str
    line: str
    make: Callable[[Path], None]
    reads: tuple[str, ...]
    code: int = 0
    first: str = ""

    def prepare(self, folder: Path) -> Prepared:
        """Write the files; outputs go to FOLDER/out."""
        data = folder / "data"
        data.mkdir(parents=True)
        self.make(data)
        if self.first:
            from d2road.cli.__main__ import main

            code = main(self._words(self.first, folder))
            if code:
                raise RuntimeError(f"{self.verb} {self.name}: the call before it ended with {code}")
        return self.at(folder)

    def at(self, folder: Path) -> Prepared:
        """The call for files that `prepare` made in this folder, or that were copied from there."""
        return Prepared(self._words(self.line, folder), [folder / "data" / name for name in self.reads])

    def _words(self, line: str, folder: Path) -> list[str]:
        words = [word.format(d=folder / "data", o=folder / "out") for word in line.split()]
        return [self.verb, *words]


MODEL = "--config-file {d}/config.yaml --weights {d}/weights.pth"
TIME_SPACE = "TIME_SPACE.SIZE (128,128) TIME_SPACE.DS 4.0 TIME_SPACE.DT 0.2 TIME_SPACE.STRIDE 12.8"
KITTI_FRAME = ("training/image_2/000000.png", "training/label_2/000000.txt", "training/calib/000000.txt")
COCO = ("annotations.json", "images/0.png")
STREAM = f"--input fcd:{{d}}/fcd.xml {MODEL} {TIME_SPACE}"
# Windows of 3.2 s, so that half a minute holds enough of them.
BY_RULES = "--method rules --input fcd:{d}/fcd.xml TIME_SPACE.SIZE (128,32) TIME_SPACE.DS 4.0 TIME_SPACE.STRIDE 0.3"
LEARN = "--device cpu"

VERB_INPUTS: tuple[VerbInput, ...] = (
    VerbInput("train", "detector", "--config-file {d}/config.yaml --output {o} " + LEARN, files.detector_files,
              ("config.yaml", "weights.pth", *COCO)),
    VerbInput("train", "anomalies", "--config-file {d}/config.yaml --output {o} MODEL.WEIGHTS '' "
              "MODEL.META_ARCHITECTURE EfficientAD SOLVER.MAX_ITER 1",  # of a config that is cut off, too
              files.anomaly_model_files, ("config.yaml", "tiles/train/good/000.png")),
    VerbInput("train", "bank", "--config-file {d}/config.yaml --output {o} MODEL.WEIGHTS '' "
              "MODEL.META_ARCHITECTURE PatchCore SOLVER.MAX_ITER 1",
              files.bank_model_files, ("config.yaml", "tiles/train/good/000.png")),
    VerbInput("eval", "detector", f"{MODEL} --output {{o}} --json {{o}}/results.json", files.detector_files,
              ("config.yaml", "weights.pth", *COCO)),
    VerbInput("eval", "anomalies", f"{MODEL} --output {{o}}", files.anomaly_model_files,
              ("config.yaml", "weights.pth", "tiles/test/blot/000.png", "tiles/ground_truth/blot/000_mask.png")),
    VerbInput("eval", "bank", f"{MODEL} --output {{o}}", files.bank_model_files, ("config.yaml", "weights.pth")),
    VerbInput("report", "run", "{d}/run --output {o}.html", files.run_files,
              ("run/config.yaml", "run/metrics.json", "run/results.json", "run/inference/plots/boxes.json",
               "image.png")),
    VerbInput("report", "video", "{d}/tracks --output {o}.html", files.tracked_folder,
              ("tracks/summary.json", "tracks/tracks.csv", "clip.mp4")),
    VerbInput("predict", "detector", f"{MODEL} --input {{d}}/image.png {{d}}/images/0.png --output {{o}}",
              files.detector_files, ("config.yaml", "weights.pth", "image.png")),
    VerbInput("predict", "camera", f"{MODEL} --input {{d}}/image.png --output {{o}} --calib {{d}}/calib.txt "
              "--denorm {d}/denorm.txt", files.detector_files, ("calib.txt", "denorm.txt")),
    VerbInput("predict", "video", f"{MODEL} --input {{d}}/clip.avi --output {{o}}", files.detector_files,
              ("clip.avi",)),
    VerbInput("predict", "anomalies", f"{MODEL} --input {{d}}/image.png --output {{o}}", files.anomaly_model_files,
              ("config.yaml", "weights.pth", "image.png")),
    VerbInput("predict", "bank", f"{MODEL} --input {{d}}/image.png --output {{o}}", files.bank_model_files,
              ("config.yaml", "weights.pth", "image.png")),
    VerbInput("predict", "sentences", f"{MODEL} --input {{d}}/image.png --output {{o}} --text-file {{d}}/calib.txt",
              files.detector_files, ("calib.txt",), code=2),  # a detector answers none
    VerbInput("accept", "image", f"{MODEL} --input {{d}}/image.png --output {{o}}.pth --reason good --by me",
              files.bank_model_files, ("config.yaml", "weights.pth", "image.png")),
    VerbInput("accept", "calibration", f"{MODEL} --calibrate-on {{d}}/unseen --randomly-drawn "
              "--output {o}.pth --reason good --by me", files.bank_model_files, ("unseen/000.png",)),
    VerbInput("check-data", "coco", "coco:{d}/annotations.json:{d}/images --json {o}.json", files.coco_files, COCO),
    VerbInput("check-data", "kitti", "kitti:{d}/training --tolerance 1", files.kitti_files, KITTI_FRAME),
    VerbInput("check-data", "kitti-split", "kitti:{d}/training:{d}/val.txt --tolerance 1", files.kitti_files,
              ("val.txt",)),
    VerbInput("check-data", "grounding", "grounding:{d}/gt.json:{d}/images --tolerance 1", files.grounding_files,
              ("gt.json", "images/0.png")),
    VerbInput("check-data", "visa", "visa:{d}:candle", files.visa_files, ("split_csv/1cls.csv",)),
    VerbInput("check-data", "omni3d", "omni3d:{d}/annotations.json:{d}/images", files.coco_files, COCO, code=1),
    VerbInput("visualize-data", "coco", "coco:{d}/annotations.json:{d}/images --output {o} --num 1",
              files.coco_files, COCO),
    VerbInput("visualize-data", "predictions", "coco:{d}/annotations.json:{d}/images --output {o} "
              "--predictions {d}/results.json", files.coco_files, ("results.json",)),
    VerbInput("visualize-data", "kitti", "kitti:{d}/training --output {o} --num 1 --predictions {d}/pred",
              files.kitti_files, (*KITTI_FRAME, "pred/000000.txt")),
    VerbInput("make-data", "grounding", "grounding --source kitti:{d}/training --output {o}.json", files.kitti_files,
              KITTI_FRAME),
    VerbInput("make-data", "kitti-lists", "kitti-lists --root {d} --train {d}/train.txt --val {d}/val.txt",
              files.kitti_files, ("train.txt", "val.txt")),
    VerbInput("eval-kitti", "folders", "--gt {d}/training/label_2 --pred {d}/pred --split {d}/val.txt",
              files.kitti_files, ("training/label_2/000001.txt", "pred/000001.txt", "val.txt")),
    VerbInput("eval-rope", "folders", "--gt {d}/training/label_2 --pred {d}/pred --calib {d}/training/calib "
              "--denorm {d}/training/denorm", files.kitti_files,
              tuple(f"{folder}/000000.txt" for folder in
                    ("training/label_2", "pred", "training/calib", "training/denorm"))),
    VerbInput("eval-grounding", "files", "--gt {d}/gt.json --pred {d}/pred.json", files.grounding_files,
              ("gt.json", "pred.json")),
    VerbInput("eval-anomaly", "mvtec", "--data {d}/tiles --maps {d}/maps --workers 1 --good-maps {d}/good_maps",
              files.anomaly_files, ("tiles/test/blot/000.png", "tiles/ground_truth/blot/000_mask.png",
                                    "maps/test/blot/000.tiff", "good_maps/000.npy")),
    VerbInput("eval-anomaly", "loco", "--data {d}/tiles --maps {d}/maps --workers 1", files.loco_files,
              ("tiles/defects_config.json", "tiles/ground_truth/blot/000/000.png")),
    VerbInput("convert", "anomalib", "--source anomalib {d}/model.ckpt {o}.pth MODEL.DEVICE cpu "
              "MODEL.EFFICIENT_AD.OUT_CHANNELS 8", files.anomalib_files, ("model.ckpt",)),
    VerbInput("convert", "own", f"--source own {MODEL} {{d}}/weights.pth {{o}}.pth", files.anomaly_model_files,
              ("config.yaml", "weights.pth")),
    VerbInput("convert", "mono3drefer", "--source mono3drefer:{d}:test --output {o}.json", files.mono3drefer_files,
              ("Mono3DRefer.json", "Mono3DRefer_test_image.txt", "calib/000007.txt", "images/000007.png")),
    VerbInput("convert", "monomulti3d", "--source monomulti3d:{d}/train.json --images {d}/images --calib {d}/calib "
              "--denorm {d}/denorm --labels {d}/labels --output {o}.json", files.monomulti3d_files,
              ("train.json", "calib/a_obstacle.txt", "denorm/a_obstacle.txt", "labels/a_obstacle.txt")),
    VerbInput("convert", "yolo", "--source yolo:{d}/datumaro_yolo/data.yaml:train --output {o}.json", files.box_files,
              tuple(f"datumaro_yolo/{name}" for name in
                    ("data.yaml", "train.txt", "labels/train/a.txt", "images/train/a.png"))),
    VerbInput("convert", "voc", "--source voc:{d}/globox_voc --images {d}/images --output {o}.json", files.box_files,
              ("globox_voc/a.xml",)),
    VerbInput("convert", "label-studio", "--source label-studio:{d}/export.json --images {d}/images --output {o}.json",
              files.box_files, ("export.json",)),
    VerbInput("convert", "cvat", "--source cvat:{d}/globox_cvat.xml --images {d}/images --output {o}.json",
              files.box_files, ("globox_cvat.xml",)),
    VerbInput("convert", "to-yolo", "--source coco:{d}/source/coco.json:{d}/images --to yolo --output {o}",
              files.box_files, ("source/coco.json",)),  # images are copied as they are
    VerbInput("convert", "to-label-studio", "--source coco:{d}/annotations.json:{d}/images --to label-studio "
              "--output {o}.json --predictions {d}/results.json", files.coco_files,
              ("annotations.json", "results.json")),
    VerbInput("export", "bf16", f"--precision bf16 {MODEL} --calibrate-on {{d}}/tiles/train/good {{o}}.pth",
              files.anomaly_model_files, ("config.yaml", "weights.pth", "tiles/train/good/000.png")),
    VerbInput("export", "bank", f"--precision int8 {MODEL} {{o}}.pth", files.bank_model_files,
              ("config.yaml", "weights.pth", "tiles/train/good/000.png")),
    VerbInput("export", "onnx", f"{MODEL} --test-images {{d}}/image.png {{d}}/tiles/test/blot/000.png {{o}}.onnx",
              files.anomaly_model_files, ("config.yaml", "weights.pth", "image.png")),
    VerbInput("export-check", "onnx", "{d}/model.onnx", files.exported_files, ("model.onnx",)),
    VerbInput("render-trajectories", "xml", f"--input fcd:{{d}}/fcd.xml --output {{o}} {TIME_SPACE}",
              files.traffic_files, ("fcd.xml",)),
    VerbInput("render-trajectories", "csv", f"--input csv:{{d}}/cars.csv --output {{o}} {TIME_SPACE}",
              files.traffic_files, ("cars.csv",)),
    VerbInput("render-trajectories", "fcd-csv", f"--input fcd:{{d}}/fcd.csv --output {{o}} {TIME_SPACE}",
              files.traffic_files, ("fcd.csv",)),
    VerbInput("render-trajectories", "ngsim", f"--input ngsim:{{d}}/trajectories-0400.txt --output {{o}} {TIME_SPACE}",
              files.traffic_files, ("trajectories-0400.txt",)),
    VerbInput("render-trajectories", "highd", f"--input highd:{{d}}/01_tracks.csv --output {{o}} {TIME_SPACE}",
              files.traffic_files, ("01_tracks.csv", "01_tracksMeta.csv", "01_recordingMeta.csv")),
    VerbInput("render-trajectories", "config", "--input csv:{d}/cars.csv --output {o} --config-file {d}/config.yaml "
              f"{TIME_SPACE}", files.anomaly_model_files, ("config.yaml",)),
    VerbInput("score-stream", "calibration", f"{STREAM} --calibration {{d}}/calibration.json",
              files.anomaly_model_files, ("fcd.xml", "config.yaml", "weights.pth", "calibration.json")),
    VerbInput("score-stream", "state", f"{STREAM} --threshold 1 --state {{d}}/state.json --scores {{d}}/scores.csv",
              files.anomaly_model_files, ("state.json", "scores.csv"),
              first=f"{STREAM} --threshold 1 --state {{d}}/state.json --scores {{d}}/scores.csv"),
    VerbInput("score-stream", "rules", f"{BY_RULES} --good fcd:{{d}}/fcd.xml --scores {{o}}.csv", files.traffic_files,
              ("fcd.xml",)),
    VerbInput("score-stream", "rules-calibration", f"{BY_RULES} --calibration {{d}}/rules.json", files.traffic_files,
              ("fcd.xml", "rules.json")),
    VerbInput("watch", "tracks", "--input {d}/tracks.parquet --calib {d}/camera.yaml --calibration {d}/rules.json "
              "--output {o}", files.watched_files, ("tracks.parquet", "camera.yaml", "rules.json")),
    VerbInput("track", "detections", "--input {d}/clip.mp4 --calib {d}/camera.yaml --detections {d}/detections.csv "
              "--output {o} --no-video", files.tracked_files,
              ("clip.mp4", "camera.yaml", "detections.csv", "frames.csv")),
    VerbInput("search-video", "tracks", "standing --tracks {d}/tracks.parquet --calib {d}/camera.yaml --output {o}",
              files.searched_files, ("tracks.parquet", "camera.yaml")),
    VerbInput("calibrate-camera", "all", "--observations {d}/boxes.csv --points {d}/map.csv --calib {d}/calib.txt "
              "--size 960x540 --output {o}", files.calibration_files, ("boxes.csv", "map.csv", "calib.txt")),
)  # fmt: skip
