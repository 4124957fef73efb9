"""Box detection by COCO's protocol, for data of every format, and by LVIS's."""

import logging
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BoxMode
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table

from d2road.data.catalog import class_names_of
from d2road.data.datasets.coco import is_crowd, read_coco_json
from d2road.evaluation.box_plots import box_plots, precision_recall_figure
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.metrics.box_ap import FREQUENCIES, BoxPrecision, BoxTruth, coco_precision, lvis_precision
from d2road.evaluation.plot_data import PlotData, write_plot_data
from d2road.utils.errors import DataError
from d2road.utils.markdown import markdown_table
from d2road.utils.output_files import make_folder, write_json
from d2road.utils.values import id_order

logger = logging.getLogger(__name__)


class BoxEvaluator(DatasetEvaluator):
    """COCO's AP of boxes, as Detectron2's evaluator gives it, made whole for what that leaves open.

    - Data that is not COCO JSON is converted on every evaluation (never from an old cache), to
      `coco_ground_truth_*.json` in `output_dir`.
    - COCO JSON without "area" or "iscrowd" is completed; ids may be numbers or texts.
    - No predictions give AP 0 where there are objects, and NaN only where there are none.

    Predictions go to `coco_instances_results.json` in `output_dir`.

    Args:
        distributed: gather the predictions of all processes.
        plots: write `plots/boxes.json`, see `plot_data`.
    Raises:
        FileNotFoundError, DataError: the data is not there or cannot be read.
    """

    results_file = "coco_instances_results.json"

    def __init__(self, dataset_name: str, output_dir: str, *, distributed: bool = True, plots: bool = False):
        self.dataset_name, self.output_dir, self.distributed = dataset_name, Path(output_dir), distributed
        self.plots = plots
        self.class_names = class_names_of(dataset_name)  # fills the metadata that the evaluation reads
        make_folder(self.output_dir)
        metadata = MetadataCatalog.get(dataset_name)
        json_file = metadata.get("json_file")
        if not json_file:
            self.content, _ = convert_to_coco(dataset_name, output_dir)
        else:
            if not Path(json_file).is_file():
                DatasetCatalog.get(dataset_name)  # its error says how to get the data
            self.content = read_coco_json(json_file)
        self.category_ids = sorted(category["id"] for category in self.content["categories"])
        to_contiguous = metadata.get("thing_dataset_id_to_contiguous_id") if json_file else None
        self.category_of = (
            {i: c for c, i in to_contiguous.items()} if to_contiguous else dict(enumerate(self.category_ids))
        )
        self.reset()

    def reset(self) -> None:
        self._predictions: list[dict[str, Any]] = []
        self._files: dict[Any, str] = {}  # of the images, for plots
        self._is_used = False

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Take the predictions of a batch: `instances` of each output, with the `image_id` of its input."""
        for record, output in zip(inputs, outputs):
            if "instances" in output:
                self._is_used = True
                if self.plots and "file_name" in record:
                    self._files[record["image_id"]] = record["file_name"]
                self._predictions += instances_to_coco_json(output["instances"].to("cpu"), record["image_id"])

    def evaluate(self) -> dict:
        """`{"bbox": {"AP": ..., "AP50": ..., "AP-<class>": ...}}` in percent; {} on all but the main process.

        {} for data without annotations, too: its predictions are written.

        Raises:
            DataError: predictions are not finite.
        """
        gathered = [(self._predictions, self._is_used, self._files)]
        if self.distributed:
            comm.synchronize()
            gathered = comm.gather(gathered[0], dst=0)
        if not comm.is_main_process():
            return {}
        if not any(is_used for _, is_used, _ in gathered):
            logger.warning("no predictions came for data set '%s'", self.dataset_name)
            return {}
        found = [{**row, "category_id": self.category_of[row["category_id"]]} for rows, *_ in gathered for row in rows]
        broken = sum(not (math.isfinite(row["score"]) and all(map(math.isfinite, row["bbox"]))) for row in found)
        if broken:
            raise DataError(
                f"{broken} of {len(found)} predictions on '{self.dataset_name}' have scores or boxes that are not "
                "finite: the weights are damaged, or their training diverged"
            )
        write_json(self.output_dir / self.results_file, found, indent=None)
        if "annotations" not in self.content:
            text = "'%s' has no annotations, so there is nothing to compare with: %d predictions are in %s"
            logger.warning(text, self.dataset_name, len(found), self.output_dir / self.results_file)
            return {}
        truth = self.truth()
        objects = sum(not a["iscrowd"] for a in truth.annotations)
        if not objects:
            logger.warning("'%s' has annotations, but not of a single object: no metric is known", self.dataset_name)
        elif not found:
            logger.warning("no predictions at all for the %d objects of '%s'", objects, self.dataset_name)
        precision = self.precision(truth, found)
        results = {"bbox": self.results(truth, precision)}
        if self.plots:
            files = {image: file for *_, part in gathered for image, file in part.items()}
            write_plot_data(self.output_dir, "boxes", lambda: self.plot_data(truth, found, precision, files))
        return results

    def truth(self) -> BoxTruth:
        """What predictions are compared with."""
        images = sorted((image["id"] for image in self.content["images"]), key=id_order)
        return BoxTruth(images, self.category_ids, [_completed(a) for a in self.content["annotations"]])

    def precision(self, truth: BoxTruth, found: Sequence[Mapping[str, Any]]) -> BoxPrecision:
        """By the protocol of this evaluator."""
        return coco_precision(truth, found)

    def plot_data(
        self,
        truth: BoxTruth,
        found: Sequence[Mapping[str, Any]],
        precision: BoxPrecision,
        files: Mapping[Any, str],
    ) -> PlotData:
        """What there is to show."""
        return box_plots(truth, found, precision, self.class_names, files)

    def results(self, truth: BoxTruth, precision: BoxPrecision) -> dict[str, float]:
        """Percent by metric, NaN where there is no object."""
        results = standard_metrics(precision)
        logger.info("Evaluation results for bbox:\n%s", create_small_table(results))
        if len(self.class_names) > 1:
            by_class = {name: precision.mean(categories=[k]) for k, name in enumerate(self.class_names)}
            logger.info("AP of classes:\n%s", _class_table(by_class))
            results.update({f"AP-{name}": ap for name, ap in by_class.items()})
        return results


class LvisEvaluator(BoxEvaluator):
    """LVIS's AP of boxes, with those of rare, common and frequent classes.

    Predictions go to `lvis_instances_results.json` in `output_dir`.

    Raises:
        DataError: as for COCO; categories without `frequency`, or images without `neg_category_ids`.
    """

    results_file = "lvis_instances_results.json"

    def __init__(self, dataset_name: str, output_dir: str, *, distributed: bool = True, plots: bool = False):
        super().__init__(dataset_name, output_dir, distributed=distributed, plots=plots)
        # Before all of the inference, not after it.
        self.lists: dict[str, dict[Any, Iterable[int]]] = {"neg_category_ids": {}, "not_exhaustive_category_ids": {}}
        for image in self.content["images"] if "annotations" in self.content else ():
            for key, by_image in self.lists.items():
                if not isinstance(image.get(key), list):
                    raise DataError(f"image id {image['id']!r} of '{dataset_name}' has no list {key}, as LVIS needs")
                by_image[image["id"]] = image[key]
        self.frequency = {category["id"]: category.get("frequency") for category in self.content["categories"]}
        for key, letter in self.frequency.items():
            if letter not in FREQUENCIES:
                raise DataError(
                    f"category id {key} of '{dataset_name}' has frequency {letter!r}, expected one of r, c, f"
                )

    def truth(self) -> BoxTruth:
        """What predictions are compared with, and on which classes each image is judged."""
        coco = super().truth()
        return BoxTruth(coco.images, coco.categories, coco.annotations, *self.lists.values())

    def precision(self, truth: BoxTruth, found: Sequence[Mapping[str, Any]]) -> BoxPrecision:
        """By the protocol of this evaluator."""
        return lvis_precision(truth, found)

    def plot_data(
        self,
        truth: BoxTruth,
        found: Sequence[Mapping[str, Any]],
        precision: BoxPrecision,
        files: Mapping[Any, str],
    ) -> PlotData:
        """Precision and recall alone: images are not labelled for all classes, so other detections may be right."""
        return PlotData({"precision_recall": precision_recall_figure(precision, self.class_names)})

    def results(self, truth: BoxTruth, precision: BoxPrecision) -> dict[str, float]:
        """Percent by metric, NaN where there is no object."""
        results = standard_metrics(precision)
        for letter in FREQUENCIES:
            places = [k for k, category in enumerate(truth.categories) if self.frequency[category] == letter]
            results[f"AP{letter}"] = precision.mean(categories=places)
        logger.info("Evaluation results for bbox:\n%s", create_small_table(results))
        return results


def standard_metrics(precision: BoxPrecision) -> dict[str, float]:
    """AP, AP50, AP75, and AP of small, medium and large objects."""
    return {
        "AP": precision.mean(),
        "AP50": precision.mean(overlap=0.5),
        "AP75": precision.mean(overlap=0.75),
        "APs": precision.mean(area="small"),
        "APm": precision.mean(area="medium"),
        "APl": precision.mean(area="large"),
    }


def _class_table(by_class: Mapping[str, float]) -> str:
    cells = [cell for name, ap in by_class.items() for cell in (name, f"{ap:.3f}")]
    columns = min(3, len(by_class))
    lines = [cells[i : i + 2 * columns] for i in range(0, len(cells), 2 * columns)]
    return "\n".join(markdown_table(["class", "AP"] * columns, lines))


def _completed(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation with what many files lack."""
    bbox, area = annotation["bbox"], annotation.get("area")
    return {
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": bbox,
        "area": bbox[2] * bbox[3] if area is None else area,
        "iscrowd": is_crowd(annotation),
    }


def convert_to_coco(dataset_name: str, output_dir: str) -> tuple[dict, Path]:
    """A data set's boxes as the content of a COCO JSON, and the file in `output_dir` to which it is written.

    Category ids are the contiguous class indices.
    """
    # The name of a data set by path is no file name.
    short = re.sub(r"\W+", "_", dataset_name)[-40:].strip("_")
    path = Path(output_dir) / f"coco_ground_truth_{short}_{zlib.crc32(dataset_name.encode()):08x}.json"
    content = coco_dict(DatasetCatalog.get(dataset_name), class_names_of(dataset_name))
    write_json(path, content, indent=None)
    return content, path


def coco_dict(dataset_dicts: list[dict], class_names: list[str]) -> dict:
    """Dataset dicts as the content of a COCO JSON; without "annotations" if no dict has any key of that name."""
    images: list[dict] = []
    annotations: list[dict] = []
    for record in dataset_dicts:
        images.append({"id": record["image_id"], **{k: record[k] for k in ("file_name", "width", "height")}})
        for annotation in record.get("annotations", ()):
            x, y, w, h = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYWH_ABS)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                }
            )
    data = {"images": images, "categories": [{"id": i, "name": n} for i, n in enumerate(class_names)]}
    if any("annotations" in record for record in dataset_dicts):
        data["annotations"] = annotations
    return data


@EVALUATOR_REGISTRY.register(name="coco")
def build_coco_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> BoxEvaluator:
    """COCO's AP of boxes."""
    return BoxEvaluator(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False))


@EVALUATOR_REGISTRY.register(name="lvis")
def build_lvis_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> LvisEvaluator:
    """LVIS's AP of boxes."""
    return LvisEvaluator(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False))
