"""Evaluation of anomaly maps as Detectron2 runs it, after training and with --eval-only."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from d2road.evaluation import EVALUATOR_REGISTRY, write_results
from d2road.evaluation.plot_data import Heat, write_plot_data
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder
from efficientad.conformal import NO_GUARANTEE
from efficientad.data.dataset_layouts import UNLABELLED
from efficientad.evaluation.anomaly_plots import ShownImage, anomaly_plots
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.bootstrap_intervals import bootstrap
from efficientad.evaluation.image_scores import ImageScores, check_map, size_text
from efficientad.evaluation.map_files import MAP_SUFFIXES, score_file, write_map, write_upload
from efficientad.evaluation.spro import CONFIG_FILE, read_defects_config
from efficientad.evaluation.verdict_list import ScoredImage, counts_text, write_list

logger = logging.getLogger(__name__)

MAP_FOLDER = "anomaly_maps"
LIST = "images.csv"
UPLOAD = "mvtec_ad_2"  # instead of a suffix of maps
# What a model says of itself: key of anomaly.json -> key of its outputs.
TOLD = {"teacher": "teacher", "guarantee": "anomaly_guarantee"}
# Bounds of intervals beside these metrics; the others are in anomaly.json.
HEADLINES = ("image_auroc", "pixel_auroc", "aupro", "f1_max", "pixel_f1_max")


class AnomalyEvaluator(DatasetEvaluator):
    """Image and pixel AUROC, AU-PRO, sPRO and F1 of one category, masks at the size of the image.

    A map is measured as it comes and let go, so that memory hardly grows with the number of images. Task "anomaly", all
    fractions: "image_auroc", "image_auroc_<kind>", "pixel_auroc", "aupro", "aupro@0.05", "auspro_<kind>@0.05",
    "auspro_mean@0.05" at every limit, "f1_max", "pixel_f1_max"; bounds of the 95 % interval over images as
    "image_auroc_low", "image_auroc_high", ...; where the model gives "anomaly_threshold" with its maps,
    "good_threshold", "f1_at_good_threshold" and "pixel_f1_at_good_threshold", and with a table of events
    "event_recall", "event_recall_<kind>" and "false_alarms_per_hour". What the data cannot tell (no masks, no good
    images) is NaN.
    output_dir/images.csv has a line for each image: file, label, score, threshold, verdict and outcome, the highest
    score first; output_dir/anomaly.json has the same metrics nested as d2road eval-anomaly writes it, with all
    intervals, and the "teacher" of the model, without which results do not compare, and what its threshold promises,
    "guarantee".

    Args:
        category_root: folder with defects_config.json, which sPRO needs; None or one without that file leaves sPRO out.
        output_dir: None writes nothing.
        exact: keep every pixel; else some thousand weighted scores of every map.
        save_maps: ".tiff" or ".npy" writes output_dir/anomaly_maps/<path of the image below the category's folder>,
            which d2road eval-anomaly reads; "mvtec_ad_2" writes what MVTec's server takes, see `write_upload`.
        draws: of the bootstrap; 0 leaves the intervals out.
        distributed: gather what the processes measured.
        meta_csv: table of the events in windows of traffic, see `window_events`; None for other images.
        plots: write output_dir/plots/anomaly.json, see `d2road.evaluation.plot_data`; keeps a small map of each image.
    Raises:
        ValueError: unknown suffix of maps, or a defects_config.json that cannot be used.
    """

    def __init__(
        self,
        category_root: str | None = None,
        output_dir: str | None = None,
        *,
        exact: bool = False,
        save_maps: str = "",
        draws: int = 1000,
        distributed: bool = True,
        meta_csv: str | None = None,
        plots: bool = False,
    ):
        if save_maps and save_maps not in (*MAP_SUFFIXES, UPLOAD):
            raise DataError(f"maps as {save_maps!r}: choose one of {', '.join(MAP_SUFFIXES)}, {UPLOAD}, or '' for none")
        self.category_root = Path(category_root) if category_root else None
        self.output_dir = Path(output_dir) if output_dir else None
        self.exact, self.save_maps, self.draws, self.distributed = exact, save_maps, draws, distributed
        config = self.category_root / CONFIG_FILE if self.category_root else None
        self.types = read_defects_config(config) if config is not None and config.is_file() else None
        self.meta_csv, self.plots = meta_csv, plots
        self.reset()

    def reset(self) -> None:
        self._images: list[ImageScores] = []
        self._listed: list[ScoredImage] = []
        self._shown: dict[str, ShownImage] = {}
        self._threshold: float | None = None
        self._map_threshold: float | None = None
        self._told: dict[str, str] = {}
        self._score_is_of_map = True

    @property
    def _threshold_of_maps(self) -> float | None:
        """That of the values of maps: the one of scores where these are such values; NaN where there is none."""
        return self._threshold if self._score_is_of_map else self._map_threshold or math.nan

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Measure a batch.

        Args:
            inputs: dataset dicts with file_name, defect ("good" or its kind) and mask_files; with "ignore_file" the
                pixels that are not 0 in it count in no metric of pixels, unless they are in a mask.
            outputs: "anomaly_map" (height, width), "anomaly_score"; optionally "anomaly_threshold", of the score,
                "map_score" where the score is another than the maximum of the map, then also "map_threshold", of the
                values of the map; "teacher", where it comes from; "anomaly_guarantee", what its threshold promises.
        Raises:
            ValueError: a map is not finite, or not of the size of the image and its masks.
        """
        for entry, output in zip(inputs, outputs):
            name = self._name(entry)
            source = f"anomaly map of {entry['file_name']}"
            anomaly_map = check_map(_array(output["anomaly_map"]), source)
            size = (entry.get("height"), entry.get("width"))
            if None not in size and anomaly_map.shape != size:
                raise DataError(f"{source} is {size_text(anomaly_map)}, but the image is {size[1]}x{size[0]}")
            score = float(output["anomaly_score"]) if "anomaly_score" in output else None
            if "anomaly_threshold" in output and math.isfinite(output["anomaly_threshold"]):
                self._threshold = float(output["anomaly_threshold"])
            if "map_threshold" in output and math.isfinite(output["map_threshold"]):
                self._map_threshold = float(output["map_threshold"])
            self._told |= {key: output[name] for key, name in TOLD.items() if output.get(name)}
            self._score_is_of_map &= "map_score" not in output
            self._save(entry, name, anomaly_map, output)
            listed = ScoredImage(
                entry["file_name"], entry["defect"], float(anomaly_map.max()) if score is None else score
            )
            if entry["defect"] == UNLABELLED:
                self._listed.append(listed)
                continue
            masks, ignore = entry["mask_files"], entry.get("ignore_file")
            if self.plots and self.output_dir:
                paths = [os.path.abspath(path) for path in (entry["file_name"], *masks)]
                self._shown[name] = ShownImage(paths[0], paths[1:], Heat.of(anomaly_map))
            self._images.append(
                score_file(name, entry["defect"], anomaly_map, masks, self.types, self.exact, score, source, ignore)
            )
            self._listed.append(listed)

    def _save(self, entry: Mapping, name: str, anomaly_map: np.ndarray, output: Mapping) -> None:
        """Write the map of an image, if asked for."""
        if not self.save_maps or not self.output_dir:
            return
        if self.save_maps == UPLOAD:
            # That of the score is a value of the map only where the score is one.
            threshold = self._map_threshold if "map_score" in output else self._threshold
            write_upload(self.output_dir, entry.get("category") or "category", name, anomaly_map, threshold)
        else:
            write_map(self.output_dir / MAP_FOLDER / (name + self.save_maps), anomaly_map)

    def _name(self, entry: Mapping) -> str:
        """Path of the image below the category's folder, without suffix."""
        path = Path(entry["file_name"])
        root = entry.get("root") or self.category_root
        if root and path.is_relative_to(root):
            return path.relative_to(root).with_suffix("").as_posix()
        return f"{entry['defect']}/{path.stem}"

    def evaluate(self) -> dict:
        """`{"anomaly": {metric: value}}`; {} on all but the main process.

        Raises:
            ValueError: no image, or some anomalous images have masks and others none.
        """
        images, threshold, told = self._images, self._threshold, self._told
        listed, shown = self._listed, self._shown
        of_map = self._threshold_of_maps
        if self.distributed and comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather((images, threshold, told, of_map, listed, shown), dst=0)
            if not comm.is_main_process():
                return {}
            images = [image for part, *_ in gathered for image in part]
            threshold = next((part[1] for part in gathered if part[1] is not None), None)
            told = next((part[2] for part in gathered if part[2]), {})
            of_map = next((part[3] for part in gathered if part[3] is not None), None)
            listed = [image for part in gathered for image in part[4]]
            shown = {name: image for part in gathered for name, image in part[5].items()}
        self._tell_verdicts(listed, threshold)
        if not images and listed:
            logger.info("No image of this data has a label, so no metric is known")
            return {}
        if not any(image.anomalous for image in images):
            logger.warning(
                "None of the %d labelled images is anomalous, so only false alarms are counted, and AUROC, AU-PRO and "
                "F1 have no value. The name of a data set alone is its training images; its test images are NAME:test "
                "(or NAME/test)",
                len(images),
            )
        results = evaluate(images, self.types is not None, threshold, of_map)
        if self.draws:
            results["intervals"] = bootstrap(images, self.types is not None, self.draws)
        if self.meta_csv and threshold is not None:
            results["events"] = self._events(self.meta_csv, images, threshold)
        if "teacher" in told:
            logger.info("Anomaly results of a model with the teacher %s", told["teacher"])
        if "guarantee" in told:
            level = logging.WARNING if told["guarantee"].startswith(NO_GUARANTEE) else logging.INFO
            logger.log(level, "Threshold %.4g: %s", math.nan if threshold is None else threshold, told["guarantee"])
        if self.output_dir:
            write_results(self.output_dir / "anomaly.json", {**told, **results})
        if self.output_dir and self.plots:
            write_plot_data(self.output_dir, "anomaly", lambda: anomaly_plots(images, shown, threshold, of_map))
        return {"anomaly": flat_metrics(results)}

    def _tell_verdicts(self, listed: Sequence[ScoredImage], threshold: float | None) -> None:
        """Write the list of all images, and log how many of each label are called anomalous, and the mistakes."""
        place = ""
        if self.output_dir and listed:
            make_folder(self.output_dir)
            write_list(self.output_dir / LIST, listed, threshold)
            place = f"; all images: {self.output_dir / LIST}"
        if threshold is not None and listed:
            logger.info("Verdicts at the threshold %.4g%s\n%s", threshold, place, counts_text(listed, threshold))

    def _events(self, meta_csv: str, images: Sequence[ImageScores], threshold: float) -> dict:
        from efficientad.evaluation.window_events import (  # pandas is an extra, for traffic alone
            evaluate_windows,
            read_meta,
        )

        scores = {image.name: image.score for image in images}
        return evaluate_windows(read_meta(meta_csv), scores, threshold, self.draws)


def flat_metrics(results: Mapping) -> dict[str, float]:
    """What `anomaly_protocol.evaluate` returns, with "intervals" or without, as one level of metrics."""
    flat = {}
    for name, value in results.items():
        if name == "image_auroc_by_type":
            flat.update({f"image_auroc_{kind}": area for kind, area in value.items()})
        elif name == "auspro":
            areas = value or {}
            flat.update({f"auspro_{kind}@{limit}": a for kind, row in areas.items() for limit, a in row.items()})
        elif name == "events":
            flat["event_recall"], flat["false_alarms_per_hour"] = value["recall"], value["false_alarms_per_hour"]
            flat.update({f"event_recall_{kind}": share for kind, share in value["recall_by_kind"].items()})
        elif name != "intervals":
            flat[name] = value
    for name in HEADLINES if "intervals" in results else ():
        flat[f"{name}_low"], flat[f"{name}_high"] = results["intervals"][name]
    return flat


def _array(values: Any) -> Any:
    """A tensor or array as an array on the CPU."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values if values.dtype == torch.float64 else values.float()).numpy()


@EVALUATOR_REGISTRY.register(name="anomaly")
def build_anomaly_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> AnomalyEvaluator:
    """Anomaly maps of one category, by TEST.ANOMALY."""
    node = cfg.TEST.ANOMALY
    return AnomalyEvaluator(
        MetadataCatalog.get(dataset_name).get("category_root"),
        output_dir,
        exact=node.EXACT,
        save_maps=node.SAVE_MAPS,
        draws=node.BOOTSTRAP,
        meta_csv=MetadataCatalog.get(dataset_name).get("meta_csv"),
        plots=cfg.TEST.get("PLOTS", False),
    )
