"""The toy grounding data: sentences over the toy roadside views, one file a split.

Views of the toy roadside's training part are for training. Of its validation part, whose cameras and scenes are others,
the first views are for validation (to fix a score threshold on), the rest for the test. Training sentences have no
held-out wordings; those of validation and test have a share of them.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import output_dir
from mono3dvg.data.labelled_sources import grounding_of, merge_classes
from mono3dvg.language import Recipe, generate_sentences
from mono3dvg.schema import GroundingData, write_grounding

META = "toy_grounding.json"
# Raised whenever the same seed would give other sentences.
VERSION = 2
SPLITS = ("train", "val", "test")
TRAINING_FACTOR = 2  # so many times as many sentences for an image to train on


def make_toy_grounding(
    out: str | Path,
    toy: str | Path,
    *,
    seed: int = 0,
    per_image: int = 8,
    languages: Sequence[str] = ("en",),
    held_out: float = 0.3,
    validation: float = 0.3,
    overwrite: bool = False,
) -> dict[str, Counter]:
    """Write OUT/grounding_{train,val,test}.json; `file_name`s are relative to `toy`.

    Args:
        toy: the toy roadside data.
        per_image: sentences for an image of validation and test; twice as many for one of training.
        held_out: share of the sentences of validation and test that have held-out wordings.
        validation: share of the toy data's validation views that are for validation, the rest is for the test.
    Returns:
        what was made, by split; see `describe_counts`.
    Raises:
        FileNotFoundError: the toy roadside data is not there.
        D2RoadError: wrong numbers, or `out` holds data of other parameters or something else.
    """
    out, toy = Path(out), Path(toy)
    if not 0 < validation < 1:
        raise ConfigError(f"--validation is {validation}, expected a share between 0 and 1")
    if not (toy / "toy_roadside.json").is_file():
        raise FileNotFoundError(f"{toy} is no toy roadside data: d2road make-data toy-roadside --output {toy}")
    recipes = {
        split: Recipe(
            seed=seed,
            stream=stream,
            per_image=per_image * (TRAINING_FACTOR if split == "train" else 1),
            languages=tuple(languages),
            held_out=0.0 if split == "train" else held_out,
        )
        for stream, split in enumerate(SPLITS)
    }
    meta = {
        "version": VERSION, "seed": seed, "per_image": per_image, "languages": list(languages), "held_out": held_out,
        "validation": validation,
    }  # fmt: skip
    parts = read_parts(toy, validation)
    with output_dir(out, META, meta, ["."], [], overwrite):
        made = {}
        for split, raw in parts.items():
            raw["expressions"], made[split] = generate_sentences(GroundingData(raw), recipes[split])
            write_grounding(out / f"grounding_{split}.json", raw)
        return made


def read_parts(toy: Path, validation: float) -> dict[str, dict[str, Any]]:
    """Images and objects of the three splits."""
    read = {
        split: grounding_of(f"rope3d:{toy}:{split}", toy, toy / f"attributes_{split}.jsonl", f"toy_roadside {split}")
        for split in ("train", "val")
    }
    merge_classes(read.values())
    ids = [image["id"] for image in read["val"]["images"]]
    border = max(1, round(validation * len(ids)))
    return {
        "train": read["train"],
        "val": _some_images(read["val"], set(ids[:border])),
        "test": _some_images(read["val"], set(ids[border:])),
    }


def describe_counts(counts: Counter) -> str:
    """What `language.generate_sentences` counted, as lines: the mix, and what the sentences speak of."""
    groups = ("st_w_d", "st_wo_d", "mt", "zt_w_d", "zt_wo_d")
    total = max(sum(counts[group] for group in groups), 1)
    mix = "  ".join(f"{group} {counts[group]} ({100 * counts[group] / total:.1f} %)" for group in groups)
    said = [(name.removeprefix("tag "), count) for name, count in counts.most_common() if name.startswith("tag ")]
    spoken = "  ".join(f"{name} {count}" for name, count in said if name != "class")
    few = counts["images with fewer sentences"]
    return f"{total} sentences: {mix}\n  say {spoken}\n  {few} images have fewer sentences than asked for"


def _some_images(raw: dict[str, Any], ids: set) -> dict[str, Any]:
    images = [image for image in raw["images"] if image["id"] in ids]
    things = [thing for thing in raw["annotations"] if thing["image_id"] in ids]
    return {**raw, "images": images, "annotations": things}
