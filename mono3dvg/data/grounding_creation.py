"""Creation of grounding files: from published data, from label files, and by generating sentences.

`convert_grounding` writes published grounding data, or label files without sentences, in the schema;
`make_grounding` writes generated sentences over labelled images. `make_toy_grounding` is in `toy_grounding`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.utils.errors import ConfigError, DataError
from mono3dvg.data.grounding_converters import convert_mono3drefer, convert_monomulti3d
from mono3dvg.data.labelled_sources import grounding_of
from mono3dvg.data.toy_grounding import describe_counts
from mono3dvg.language import Recipe, generate_sentences
from mono3dvg.schema import GroundingData, write_grounding

PUBLISHED = ("mono3drefer", "monomulti3d")


@dataclass(frozen=True)
class GroundingFile:
    """A grounding file that was written, the folder of its images, and what it holds in words."""

    path: Path
    image_dir: str
    contents: str

    @property
    def dataset(self) -> str:
        """The name that DATASETS.TRAIN and TEST take."""
        return f"grounding:{self.path}:{self.image_dir}"


def convert_grounding(
    source: str,
    out: str | Path,
    *,
    images: str | Path = "",
    calib: str | Path = "",
    denorm: str | Path = "",
    labels: str | Path = "",
) -> GroundingFile:
    """Convert grounding data of another layout, check and write it.

    Args:
        source: "mono3drefer:ROOT:SPLIT", "monomulti3d:FILE_OR_DIR", or the name of a data set with 3D boxes
            ("kitti:ROOT", "rope3d:ROOT:train", ...), which becomes a file without sentences.
        out: the file to write.
        images: folder of the images; needed for monomulti3d and for names that tell no folder.
        calib, denorm, labels: monomulti3d's other folders, see `convert_monomulti3d`; "" where there is none.
    Raises:
        FileNotFoundError, D2RoadError: input that cannot be converted.
    """
    raw, image_dir = _read_source(source, str(images), str(calib), str(denorm), str(labels))
    write_grounding(out, raw)
    counts = ", ".join(f"{len(raw[name])} {name}" for name in ("images", "annotations", "expressions"))
    return GroundingFile(Path(out), image_dir, f"{counts} in {out}")


def make_grounding(
    source: str, out: str | Path, recipe: Recipe, *, images: str | Path = "", attributes: str | Path = ""
) -> GroundingFile:
    """Generate sentences over the labelled images of a data set, check and write them.

    Args:
        source: name of a data set with 3D boxes, such as "kitti:ROOT" or "rope3d:ROOT:train". Its labels must be
            complete: an object without label is one that no sentence means.
        out: the file to write.
        recipe: how many sentences, of what kinds.
        images: folder above the images; ROOT of the source if "".
        attributes: attributes_*.jsonl of the toy data, for colours and lanes; "" for none.
    Raises:
        FileNotFoundError, D2RoadError: input that cannot be used.
    """
    image_dir = _image_dir(source, str(images))
    raw = grounding_of(source, image_dir, attributes)
    raw["expressions"], counts = generate_sentences(GroundingData(raw), recipe)
    if not raw["expressions"]:
        raise DataError(f"source {source}: no sentence fits; are its images labelled?")
    write_grounding(out, raw)
    return GroundingFile(Path(out), image_dir, f"{len(raw['images'])} images, {describe_counts(counts)}")


def _read_source(source: str, images: str, calib: str, denorm: str, labels: str) -> tuple[dict[str, Any], str]:
    kind, _, rest = source.partition(":")
    if kind == "mono3drefer":
        root, _, split = rest.rpartition(":")
        if not root:
            raise ConfigError(f"source {source} does not read as mono3drefer:ROOT:train|val|test")
        return convert_mono3drefer(root, split), str(Path(root) / "images")
    if kind == "monomulti3d":
        if not images or not calib:
            raise ConfigError("monomulti3d needs --images and --calib, Rope3D's folders")
        return convert_monomulti3d(rest, images, calib, denorm or None, labels or None), images
    image_dir = _image_dir(source, images)
    return grounding_of(source, image_dir), image_dir


def _image_dir(source: str, images: str) -> str:
    image_dir = images or source.partition(":")[2].split(":")[0]
    if not image_dir:
        raise ConfigError(f"source {source} is a name: say where its images are by --images")
    return image_dir
