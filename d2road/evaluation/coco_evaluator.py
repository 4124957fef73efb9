"""Box detection by COCO's protocol, for data of every format."""

import contextlib
import importlib.util
import io
import re
import zlib
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.structures import BoxMode
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.data.catalog import class_names_of
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder, write_json

# Metric -> the range of object areas (px^2) that it counts, as in pycocotools.
AREA_RANGES = {
    "AP": (0, 1e10), "AP50": (0, 1e10), "AP75": (0, 1e10),
    "APs": (0, 32**2), "APm": (32**2, 96**2), "APl": (96**2, 1e10),
}  # fmt: skip


class BoxEvaluator(COCOEvaluator):
    """Detectron2's COCO evaluation of boxes, made whole for what it leaves open.

    - Data that is not COCO JSON is converted on every evaluation (never from an old cache), to
      `coco_ground_truth_*.json` in `output_dir`.
    - COCO JSON without "area" or "iscrowd" is completed.
    - No predictions give AP 0 where there are objects, and NaN only where there are none.

    Predictions go to `coco_instances_results.json` in `output_dir`.

    Raises:
        ValueError: (`evaluate`) the data set has no annotations; the predictions have been written by then.
    """

    def __init__(self, dataset_name: str, output_dir: str, *, distributed: bool = True):
        self.dataset_name = dataset_name
        class_names_of(dataset_name)  # fills the metadata that the evaluation reads
        make_folder(Path(output_dir))
        source, json_file = dataset_name, MetadataCatalog.get(dataset_name).get("json_file")
        if not json_file:
            source = convert_to_coco(dataset_name, output_dir)
        elif not Path(json_file).is_file():
            DatasetCatalog.get(dataset_name)  # its error says how to get the data
        super().__init__(source, tasks=("bbox",), distributed=distributed, output_dir=output_dir, use_fast_impl=False)
        if self._do_evaluation:
            _complete(self._coco_api)

    def evaluate(self, img_ids: list | None = None) -> dict:
        """`{"bbox": {"AP": ..., "AP50": ..., "AP-<class>": ...}}` in percent; {} on all but the main process."""
        results = super().evaluate(img_ids)
        if not self._do_evaluation:
            raise DataError(
                f"data set '{self.dataset_name}' has no annotations, so nothing can be evaluated; the predictions are "
                f"in {Path(self._output_dir) / 'coco_instances_results.json'}"
            )
        return results

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: list[str] | None = None
    ) -> dict[str, float]:
        if coco_eval is not None:
            return super()._derive_coco_results(coco_eval, iou_type, class_names)
        objects = [a for a in self._coco_api.dataset["annotations"] if not a["iscrowd"]]
        self._logger.warning("no predictions at all for the %d objects of '%s'", len(objects), self.dataset_name)
        areas = np.array([a["area"] for a in objects])
        results = {
            m: _zero_if(bool(((areas >= low) & (areas <= high)).any())) for m, (low, high) in AREA_RANGES.items()
        }
        if class_names is not None and len(class_names) > 1:
            present = {a["category_id"] for a in objects}
            category_ids = sorted(self._coco_api.cats)
            results.update({f"AP-{n}": _zero_if(c in present) for c, n in zip(category_ids, class_names)})
        return results


def _zero_if(objects_present: bool) -> float:
    return 0.0 if objects_present else float("nan")


def _complete(coco_api: COCO) -> None:
    """Fill the keys that pycocotools needs and many files lack, and give it ids that it can use."""
    for annotation in coco_api.dataset["annotations"]:
        annotation["iscrowd"] = int(bool(annotation.get("iscrowd", 0) or annotation.get("ignore", 0)))
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    # pycocotools stores the id of a match in an array of numbers where 0 is "no match".
    if any(type(a["id"]) is not int or a["id"] < 1 for a in coco_api.dataset["annotations"]):
        for number, annotation in enumerate(coco_api.dataset["annotations"], 1):
            annotation["id"] = number
        with contextlib.redirect_stdout(io.StringIO()):
            coco_api.createIndex()


def convert_to_coco(dataset_name: str, output_dir: str) -> str:
    """Write a data set's boxes as COCO JSON and return the name of a metadata entry for it.

    Category ids are the contiguous class indices. The entry is new each time, since the data may have changed.
    """
    # The name of a data set by path is no file name.
    short = re.sub(r"\W+", "_", dataset_name)[-40:].strip("_")
    path = Path(output_dir) / f"coco_ground_truth_{short}_{zlib.crc32(dataset_name.encode()):08x}.json"
    classes = class_names_of(dataset_name)
    write_json(path, coco_dict(DatasetCatalog.get(dataset_name), classes), indent=None)
    entry = f"{dataset_name}@evaluation"
    MetadataCatalog.pop(entry, None)
    MetadataCatalog.get(entry).set(json_file=str(path), thing_classes=classes)
    return entry


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
    return BoxEvaluator(dataset_name, output_dir)


@EVALUATOR_REGISTRY.register(name="lvis")
def build_lvis_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """LVIS's AP of boxes.

    Raises:
        ImportError: the package lvis is not installed.
    """
    if importlib.util.find_spec("lvis") is None:
        raise ImportError(f"evaluating '{dataset_name}' needs the LVIS API: pip install lvis")
    from detectron2.evaluation import LVISEvaluator

    return LVISEvaluator(dataset_name, tasks=("bbox",), output_dir=output_dir)
