"""Keys of PatchCore, chosen on pasted defects over good training images; no test image is opened.

python -m benchmarks.efficientad.patchcore_selection --data mvtec:FOLDER/screw toy_loco/fastener_kit [--seed 0]
python -m benchmarks.efficientad.patchcore_selection --table

--data names training sets; of each, `pasted:NAME` holds images out, has them as they are and with defects pasted on,
and makes the bank of the others. Stage by stage one key is varied and the best value goes into the next stage: the mean
of image AUROC and AU-PRO over the data sets decides, and a value is preferred to a cheaper one, which stands before it,
only if it is better by 0.005. Each setting has a record in benchmarks/results/patchcore_selection/; what has one is not
run again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record, write_record
from benchmarks.efficientad.anomaly_results import dicts_of, run_test
from d2road.config import make_cfg
from d2road.evaluation.results import plain
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option
from efficientad.data.anomaly_datasets import split_name
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.modeling.feature_extractors import FeatureExtractor, build_extractor

BENCH = "patchcore_selection"
CONFIG = "configs/efficientad/Base-PatchCore.yaml"
LAYERS = ("s8", "s16", "s32")
BETTER = 0.005
CANDIDATES_A_VECTOR = 10  # of a bank that is chosen, not drawn
METRICS = ("image_auroc", "aupro")


@dataclass(frozen=True)
class Setting:
    """Values of the keys that are chosen; those to begin with are the published ones, with a small bank."""

    image_size: int = 256
    features: str = "efficientnet_lite0"
    layers: tuple[str, ...] = ("s8", "s16")
    neighbourhood: int = 3
    bank_size: int = 2000
    coreset: str = "approximate"
    neighbours: int = 9
    blur: float = 4.0

    @property
    def name(self) -> str:
        """Of its record."""
        values = {**asdict(self), "layers": "+".join(self.layers)}
        return "_".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values.values())

    def keys(self) -> list[str]:
        """KEY, VALUE, ... of a config."""
        node, more = "MODEL.PATCHCORE.", 1 if self.coreset == "random" else CANDIDATES_A_VECTOR
        values = {
            "INPUT.IMAGE_SIZE": (self.image_size, self.image_size),
            f"{node}FEATURES": self.features,
            f"{node}LAYERS": self.layers,
            f"{node}NEIGHBOURHOOD": self.neighbourhood,
            f"{node}BANK_SIZE": self.bank_size,
            f"{node}CANDIDATES": self.bank_size * more,
            f"{node}CORESET": self.coreset,
            f"{node}REWEIGHT_NEIGHBOURS": self.neighbours,
            f"{node}BLUR": self.blur,
        }
        return [text for key, value in values.items() for text in (key, str(value))]


# Key -> its values, the cheapest first.
STAGES: dict[str, tuple[Any, ...]] = {
    "image_size": (256, 384, 512),
    "features": ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    "layers": (("s16",), ("s8",), ("s8", "s16"), ("s8", "s16", "s32")),
    "neighbourhood": (1, 3, 5),
    "coreset": ("random", "approximate"),
    "bank_size": (2000, 10000),
    "neighbours": (1, 9),
    "blur": (2.0, 4.0, 8.0),
}
assert set(STAGES) == {entry.name for entry in fields(Setting)}


class FeatureCache:
    """Maps of images of one extractor, each image computed once; another extractor or size empties it."""

    def __init__(self) -> None:
        self.key: tuple[str, int] = ("", 0)
        self.extractor: FeatureExtractor | None = None
        self.maps: dict[bytes, list[Tensor]] = {}

    def serve(self, extractor: FeatureExtractor, setting: Setting) -> None:
        """Let the extractor of a model take its maps from here."""
        key = (setting.features, setting.image_size)
        if key != self.key:
            self.key, self.maps, self.extractor = key, {}, build_extractor(setting.features, "", LAYERS)
        chosen = [LAYERS.index(layer) for layer in setting.layers]

        def maps(normalised: Tensor) -> list[Tensor]:
            assert self.extractor is not None
            image = blake2b(normalised.numpy().tobytes()).digest()
            if image not in self.maps:
                self.maps[image] = self.extractor.maps(normalised)
            return [self.maps[image][number] for number in chosen]

        extractor.maps = maps  # type: ignore[method-assign]  # of this instance


def setting_cfg(setting: Setting, data: str, seed: int) -> CfgNode:
    """The config of a setting on a data set of pasted defects."""
    names = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{split_name(data, 'test')}',)"]
    running = ["SEED", str(seed), "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
    return make_cfg(CONFIG, [*setting.keys(), *names, *running])


def measure(setting: Setting, data: str, seed: int, cache: FeatureCache) -> dict[str, Any]:
    """Metrics of PatchCore with a setting: fitted to the training images, tested on those held out."""
    cfg = setting_cfg(setting, data, seed)
    model = build_model(cfg).eval()
    cache.serve(model.extractor, setting)
    fitted = model.fit(cfg)
    return {**evaluate(run_test(cfg, model).images), **fitted}


def record_name(setting: Setting, data: str, seed: int) -> str:
    """Where a setting's record is."""
    return f"{dicts_of(data)[0]['category']}_seed{seed}/{setting.name}"


def run_setting(setting: Setting, data: str, seed: int, cache: FeatureCache) -> Mapping[str, Any]:
    """The metrics of a setting, from its record if there is one."""
    name, start = record_name(setting, data, seed), time.perf_counter()
    done = read_record(BENCH, name)
    if done is not None:
        return done["metrics"]
    metrics = measure(setting, data, seed, cache)
    counts = {f"{split}_images": len(dicts_of(split_name(data, split))) for split in ("train", "test")}
    record = write_record(
        BENCH, name, metrics=plain(metrics, "metrics"), seed=seed, seconds=time.perf_counter() - start,
        command=f"python -m benchmarks.efficientad.{BENCH} --data {data.removeprefix('pasted:')} --seed {seed}",
        config={"file": CONFIG, "keys": " ".join(setting.keys())}, data=data, setting=asdict(setting), **counts,
    )  # fmt: skip
    figures = ", ".join(f"{key} {metrics[key]:.3f}" for key in METRICS)
    print(f"{name}: {figures} in {record['seconds']:.0f} s", flush=True)
    return record["metrics"]


@dataclass(frozen=True)
class Stage:
    """A key that was varied: settings and their metrics on each data set, the cheapest first; number of the chosen."""

    key: str
    settings: list[Setting]
    metrics: list[list[Mapping[str, Any]]]
    chosen: int


def merit(metrics: Sequence[Mapping[str, Any]]) -> float:
    """Mean of image AUROC and AU-PRO over data sets."""
    return float(np.mean([of_data[key] for of_data in metrics for key in METRICS]))


def choose(merits: Sequence[float]) -> int:
    """The best; a costlier one, which stands later, has to be better by `BETTER` than the best before it."""
    best = 0
    for number in range(1, len(merits)):
        if merits[number] >= merits[best] + BETTER:
            best = number
    return best


def select(
    metrics_of: Callable[[Setting], list[Mapping[str, Any]] | None], stages: Mapping[str, Sequence[Any]] | None = None
) -> list[Stage]:
    """Vary the keys one after the other, each from the best setting so far.

    Args:
        metrics_of: metrics of a setting on each data set; None ends the selection, for what has no record yet.
        stages: values by key, the cheapest first; None takes `STAGES`.
    """
    setting, found = Setting(), list[Stage]()
    for key, values in (STAGES if stages is None else stages).items():
        settings = [replace(setting, **{key: value}) for value in values]
        metrics = [measured for each in settings if (measured := metrics_of(each)) is not None]
        if len(metrics) < len(settings):
            break
        stage = Stage(key, settings, metrics, choose([merit(each) for each in metrics]))
        setting = settings[stage.chosen]
        print(f"{key}: {getattr(setting, key)}, {merit(metrics[stage.chosen]):.4f}", flush=True)
        found.append(stage)
    return found


def recorded() -> dict[int, dict[str, dict[str, dict]]]:
    """All records: seed -> data set -> name of the setting -> record."""
    found: dict[int, dict[str, dict[str, dict]]] = {}
    for path in sorted((RESULTS / BENCH).glob("*/*.json")):
        record = read_record(BENCH, f"{path.parent.name}/{path.stem}")
        if record is not None:
            found.setdefault(record["seed"], {}).setdefault(record["data"], {})[path.stem] = record
    return found


def write_tables() -> Path:
    """Write benchmarks/results/patchcore_selection/table.md from the records and return its path."""
    sections = [
        ["# Keys of PatchCore, chosen on pasted defects", "", " ".join((__doc__ or "").split("--table")[1].split())]
    ]
    for seed, of_data in recorded().items():

        def metrics_of(setting: Setting, of_data: Any = of_data) -> list[Mapping[str, Any]] | None:
            records = [records.get(setting.name) for records in of_data.values()]
            return None if None in records else [record["metrics"] for record in records]

        some = [next(iter(records.values())) for records in of_data.values()]
        about = [f"{r['data']}: bank of {r['train_images']} images, {r['test_images']} tested" for r in some]
        machines = sorted({r["machine"] for records in of_data.values() for r in records.values()})
        stages = select(metrics_of)
        note = [f"Seed {seed}. {'; '.join(about)}. Machine: {'; '.join(machines)}."]
        sections.append([f"## Seed {seed}", "", *note])
        names = [record["data"].rpartition("/")[2] for record in some]
        head = ["", *(f"{name}, {metric}" for name in names for metric in ("image AUROC", "AU-PRO")), "mean"]
        sections += [table(stage.key, "", head, stage_rows(stage)) for stage in stages]
        if len(stages) == len(STAGES):
            keys = stages[-1].settings[stages[-1].chosen].keys()
            sections.append(["## Chosen", "", *(f"    {k}: {v}" for k, v in zip(keys[::2], keys[1::2]))])
    return write_page(RESULTS / BENCH / "table.md", sections)


def stage_rows(stage: Stage) -> list[list[str]]:
    """A row a value, the chosen one in bold."""
    rows = []
    for number, (setting, metrics) in enumerate(zip(stage.settings, stage.metrics)):
        value = getattr(setting, stage.key)
        text = "+".join(value) if isinstance(value, tuple) else str(value)
        figures = [f"{of_data[key]:.3f}" for of_data in metrics for key in METRICS]
        rows.append([f"**{text}**" if number == stage.chosen else text, *figures, f"{merit(metrics):.4f}"])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", metavar="NAME", help="training sets, with their options of pasting behind ?"
    )
    parser.add_argument("--seed", type=integer_option(0), default=0, help="of the bank (default 0)")
    parser.add_argument("--table", action="store_true", help="write the tables of all records and nothing else")
    args = parser.parse_args(argv)
    if not args.data and not args.table:
        parser.error("name training sets with --data, or give --table")
    if args.data:
        cache, names = FeatureCache(), [f"pasted:{name.removeprefix('pasted:')}" for name in args.data]
        select(lambda setting: [run_setting(setting, name, args.seed, cache) for name in names])
    print(f"tables: {write_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
