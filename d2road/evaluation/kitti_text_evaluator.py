"""Base of evaluators that write predictions as KITTI text and score what was written: glue over pure protocols.

    output_dir/kitti/FRAME.txt     type -1 -1 alpha x1 y1 x2 y2 h w l x y z ry score, two decimals, the score six

Locations are those of the camera frame, `ry` turns as in the data set's labels (about the camera's y axis, or about the
normal of the ground), so that the files can be compared with the label files by any tool.
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm

from d2road.data.camera_files import read_camera
from d2road.data.catalog import class_names_of
from d2road.data.datasets.label_types import DONT_CARE
from d2road.evaluation.metrics.kitti_objects import ObjectTable, parse_objects
from d2road.evaluation.plot_data import PlotData, write_plot_data
from d2road.evaluation.pose_examples import pose_examples
from d2road.evaluation.range_plots import object_range_figures
from d2road.structures import Camera
from d2road.structures.kitti_rows import row_of
from d2road.structures.kitti_text import format_kitti_row
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder, write_small
from d2road.visualization.figure_data import Figure

SMALLEST_M = 0.01  # what two decimals can hold; a dimension of 0 would be no box


class KittiTextEvaluator(DatasetEvaluator):
    """Collects predictions with `pred_boxes3d` as KITTI text; subclasses score them.

    If no prediction has `pred_boxes3d` there is nothing to score, and the result is {}. Every frame of the data set
    counts, also those that no prediction came for.

    Args:
        dataset_name: whose dicts have KITTI's values in each annotation (see `d2road.data.catalog.register_objects`).
        output_dir: created if it is missing; *.txt in its folder kitti are replaced.
        distributed: gather the predictions of all processes.
        plots: write `plots/boxes3d.json`, see `plot_data`.
    """

    def __init__(self, dataset_name: str, output_dir: str, *, distributed: bool = True, plots: bool = False):
        self.class_names = class_names_of(dataset_name)
        self.output_dir = Path(output_dir)
        self.records = {record["image_id"]: record for record in DatasetCatalog.get(dataset_name)}
        self.on_ground = MetadataCatalog.get(dataset_name).get("ry_frame", "camera") == "ground"
        self.distributed, self.plots = distributed, plots
        self.reset()

    def score(self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]) -> dict:
        """`{task: {metric: value}}`; frames are in the order of the data set, types are class names in lower case.

        `cameras` are read only if `ry` turns about the ground; otherwise there are none.
        """
        raise NotImplementedError

    def plot_data(self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]) -> PlotData:
        """What there is to show of what `score` was given: errors over range, and examples."""
        classes, records = type_names(self.class_names), list(self.records.values())
        examples = pose_examples(records, truth, predictions, self.class_names, classes, self.on_ground)
        return PlotData(self.range_figures(truth, predictions, cameras), examples)

    def range_figures(
        self, truth: ObjectTable, predictions: ObjectTable, cameras: Sequence[Camera]
    ) -> dict[str, Figure]:
        """Errors over range of each class."""
        return object_range_figures(truth, predictions, type_names(self.class_names))

    def reset(self) -> None:
        self._texts: dict[int | str, str] = {}
        self._has_3d = False

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for record, output in zip(inputs, outputs):
            found, image_id = output["instances"].to("cpu"), record["image_id"]
            if found.has("pred_boxes3d"):
                self._has_3d = True
                camera = read_camera(self.records[image_id]) if self.on_ground else None
                self._texts[image_id] = prediction_text(found, self.class_names, camera)

    def evaluate(self) -> dict:
        """Results of the subclass on the main process, {} on others and without 3D predictions."""
        gathered = [(self._texts, self._has_3d)]
        if self.distributed:
            comm.synchronize()
            gathered = comm.gather(gathered[0], dst=0)
        if not comm.is_main_process() or not any(has_3d for _, has_3d in gathered):
            return {}
        texts = dict(itertools.chain.from_iterable(part.items() for part, _ in gathered))
        files = self._write(texts)
        predictions = parse_objects([(files.get(i, i), texts.get(i, "")) for i in self.records], scored=True)
        records = list(self.records.values())
        cameras = [read_camera(record) for record in records] if self.on_ground else []
        truth = ground_truth_table(records, self.class_names)
        results = self.score(truth, predictions, cameras)
        if self.plots:
            write_plot_data(self.output_dir, "boxes3d", lambda: self.plot_data(truth, predictions, cameras))
        return results

    def _write(self, texts: dict[int | str, str]) -> dict[int | str, Path]:
        """Write the files; image id -> path."""
        folder = self.output_dir / "kitti"
        make_folder(folder)
        for old in folder.glob("*.txt"):
            old.unlink()
        # An id may be a number or hold a slash.
        files = {image_id: folder / (re.sub(r"[^\w.-]", "_", str(image_id)) + ".txt") for image_id in texts}
        if len(set(files.values())) < len(files):
            raise DataError(
                f"image ids of the data set give equal file names in {folder}; use letters, digits, - and _"
            )
        for image_id, path in files.items():
            write_small(path, texts[image_id])
        return files


def prediction_text(found: Instances, class_names: Sequence[str], camera: Camera | None) -> str:
    """The lines of a prediction file.

    Args:
        found: on the CPU, with pred_boxes, pred_classes, scores and pred_boxes3d.
        camera: whose ground `ry` turns about; None for the camera's y axis.
    """
    frame = None if camera is None else camera.ground_rotation()
    boxes3d = found.pred_boxes3d
    rows = boxes3d.to_kitti(frame).double()
    rows[:, 3:6] = rows[:, 3:6].clamp(min=SMALLEST_M)
    columns = (found.pred_classes, found.pred_boxes.tensor, rows, boxes3d.alpha(frame), found.scores)
    return "".join(
        format_kitti_row(class_names[kind].replace(" ", "_"), box, row, alpha, truncated=None, score=score) + "\n"
        for kind, box, row, alpha, score in zip(*(column.tolist() for column in columns))
    )


def ground_truth_table(records: Sequence[dict], class_names: Sequence[str]) -> ObjectTable:
    """Annotations of dataset dicts as columns.

    Types become the names of classes in lower case (blanks as _); those of crowds "CLASS~crowd", see `crowd_types`, and
    DontCare regions "dontcare". Objects without a usable 3D box have dimensions 0.
    """
    rows, types, frames = [], [], []
    for index, record in enumerate(records):
        for row in record.get("annotations", ()):
            box = BoxMode.convert(list(row["bbox"]), row["bbox_mode"], BoxMode.XYXY_ABS)
            solid = row_of(row) if row.get("has_3d", True) else [0.0] * 7
            rows.append([row["truncated"], row["occluded"], row["alpha"], *box, *solid])
            types.append(_type_of(row, class_names))
            frames.append(index)
    table = np.array(rows, dtype=np.float64).reshape(-1, 14)
    return ObjectTable(
        frame=np.array(frames, dtype=np.int64),
        type=np.array(types, dtype=np.str_),
        truncated=table[:, 0],
        occluded=table[:, 1],
        alpha=table[:, 2],
        boxes_xyxy=table[:, 3:7],
        boxes3d=table[:, 7:],
        scores=np.zeros(len(table)),
    )


def type_names(class_names: Sequence[str]) -> list[str]:
    """Class names as types: lower case, blanks as _."""
    return [name.lower().replace(" ", "_") for name in class_names]


def crowd_types(class_names: Sequence[str]) -> dict[str, tuple[str]]:
    """Class -> type of its crowds in `ground_truth_table`: the neighbours of KITTI's protocol."""
    return {name: (f"{name}~crowd",) for name in type_names(class_names)}


def _type_of(row: dict, class_names: Sequence[str]) -> str:
    name = type_names([class_names[row["category_id"]]])[0]
    if not row.get("iscrowd", 0):
        return name
    # It stands here once for each class; that does no harm, since regions only excuse what lies in them.
    return DONT_CARE.lower() if row.get("type") == DONT_CARE else f"{name}~crowd"
