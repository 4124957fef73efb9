"""One conversion of 2D detection data: from any format that is read to any that is written, through COCO."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from d2road.data.bridges.coco_content import CocoContent, read_coco, shown_size
from d2road.data.bridges.cvat import read_cvat
from d2road.data.bridges.label_studio import read_label_studio
from d2road.data.bridges.label_studio_writer import label_studio_tasks, labelling_interface, with_predictions
from d2road.data.bridges.voc import read_voc, voc_files
from d2road.data.bridges.yolo import read_yolo
from d2road.data.bridges.yolo_writer import data_yaml, yolo_labels
from d2road.utils.errors import ConfigError, DataError, raise_errors
from d2road.utils.output_files import atomic_write, make_folder, named_output, write_small

# Syntax of a source, and the fewest and most words after its name.
SOURCES = {
    "coco": ("coco:ANNOTATIONS.json:IMAGE_DIR", 2, 2),
    "yolo": ("yolo:DATA.yaml[:SPLIT]", 1, 2),
    "voc": ("voc:ROOT[:SPLIT]", 1, 2),
    "label-studio": ("label-studio:EXPORT.json", 1, 1),
    "cvat": ("cvat:ANNOTATIONS.xml", 1, 1),
}
TARGETS = ("coco", "yolo", "voc", "label-studio")


@dataclass(frozen=True)
class Conversion:
    """What was written: lines for the user, and how to use it."""

    lines: list[str]
    usage: str


def read_source(source: str, images: str = "", voc_corners: str = "") -> CocoContent:
    """Read a data set by its name, see `SOURCES`.

    Args:
        images: folder of the images, where the format does not say.
        voc_corners: see `read_voc`.
    Raises:
        ConfigError: no such format, or not its syntax.
        FileNotFoundError, DataError: of the format's reader.
    """
    kind, _, rest = source.partition(":")
    if kind not in SOURCES:
        known = ", ".join(syntax for syntax, _, _ in SOURCES.values())
        raise ConfigError(f"--source {source}: expected {known}")
    syntax, fewest, most = SOURCES[kind]
    words = rest.split(":") if rest else []
    if not fewest <= len(words) <= most or not all(words):
        raise ConfigError(f"--source {source} does not read as {syntax} (paths contain no colon)")
    if kind == "coco":
        return read_coco(*words)
    if kind == "yolo":
        return read_yolo(*words)
    if kind == "voc":
        return read_voc(words[0], words[1] if len(words) > 1 else "", images, voc_corners)
    return read_cvat(words[0], images) if kind == "cvat" else read_label_studio(words[0], images)


def convert_boxes(
    source: str,
    out: str | Path,
    to: str = "coco",
    *,
    images: str = "",
    split: str = "",
    voc_corners: str = "",
    link: bool = False,
    predictions: str = "",
    confidence: float = 0.0,
    url: str = "",
) -> Conversion:
    """Convert 2D detection data; what is there already is never replaced.

    Args:
        source: see `SOURCES`.
        out: the file to write, or the folder for YOLO and VOC.
        to: one of `TARGETS`.
        images: folder of the images, where the format does not say.
        split: name of the split that YOLO and VOC get; "" for train.
        voc_corners: "pixels", "edges" or "", of a source or target of VOC.
        link: link to images instead of copying them, for YOLO and VOC.
        predictions: COCO results that become the predictions of Label Studio's tasks, in place of the labels.
        confidence: the lowest of them that is written.
        url: what Label Studio finds the images by, put before their names.
    Raises:
        ConfigError: an option that means nothing here, or an output that is there already.
        FileNotFoundError, D2RoadError: input that cannot be converted.
    """
    if to not in TARGETS:
        raise ConfigError(f"--to {to}: expected one of {', '.join(TARGETS)}")
    given: dict[str, str | float] = {"images": images, "split": split, "voc-corners": voc_corners, "link": link}
    given |= {"predictions": predictions, "confidence": confidence, "url": url}
    _refuse_idle_options(source.partition(":")[0], to, given)
    out = Path(out).expanduser()
    if to in ("coco", "label-studio") and os.path.lexists(out):
        raise ConfigError(f"{out} is there already: choose another --output, or remove it")
    content = read_source(source, images, voc_corners)
    if not content.categories:
        raise DataError(f"{content.source} has no boxes and names no classes: nothing to convert")
    if to == "coco":
        with atomic_write(out, "w") as file:
            json.dump(content.to_json(), file)
        return Conversion(content.summary(), f"coco:{out}:{content.image_dir or 'IMAGE_DIR'}")
    if to == "label-studio":
        return _write_tasks(content, out, predictions, confidence, url)
    if not content.image_dir:
        raise ConfigError(f"{to} holds the images too: say by --images where they are")
    if to == "yolo":
        return _write_yolo(content, out, split or "train", link)
    return _write_voc(content, out, split or "train", voc_corners, link)


def _refuse_idle_options(kind: str, to: str, given: Mapping[str, str | float]) -> None:
    """Raise a ConfigError for options that were given and that this source and target do not use."""
    folder, tasks = to in ("yolo", "voc"), to == "label-studio"
    used = {"images": kind in ("voc", "label-studio", "cvat"), "voc-corners": "voc" in (kind, to)}
    used |= {
        "split": folder,
        "link": folder,
        "predictions": tasks,
        "url": tasks,
        "confidence": bool(given["predictions"]),
    }
    idle = [f"--{name}" for name, value in given.items() if value and not used[name]]
    if kind in SOURCES and idle:
        raise ConfigError(f"{', '.join(idle)} would do nothing with --source {kind} --to {to}: leave it out")


def _write_tasks(content: CocoContent, out: Path, predictions: str, confidence: float, url: str) -> Conversion:
    interface = out.with_suffix(".xml")
    if interface == out:
        raise ConfigError(f"--output {out}: the interface of the tasks goes there: name a .json file")
    if os.path.lexists(interface):
        raise ConfigError(f"{interface} is there already: choose another --output, or remove it")
    if predictions:
        content = with_predictions(content, predictions, confidence)
    tasks = label_studio_tasks(content, url)
    with atomic_write(interface, "w") as file:
        file.write(labelling_interface(content))
    with atomic_write(out, "w") as file:
        json.dump(tasks, file)
    folder = Path(content.image_dir).expanduser().absolute().parent
    served = "" if url else f"; its LOCAL_FILES_DOCUMENT_ROOT is {folder}"
    return Conversion(content.summary(), f"import {out} into a project with the interface {interface}{served}")


def _write_yolo(content: CocoContent, out: Path, split: str, link: bool) -> Conversion:
    text = data_yaml(content, out, split)
    labels = yolo_labels(content, split)
    parts = [f"images/{split}", f"labels/{split}"]
    for part in parts:
        if os.path.lexists(out / part):
            raise ConfigError(f"{out / part} is there already, of a run that was stopped? Remove it")
    _write_folder(out, labels, _image_files(content, f"images/{split}"), link, parts)
    write_small(out / "data.yaml", text)  # last: a split that it names is whole
    return Conversion(content.summary(), f"yolo:{out / 'data.yaml'}:{split}")


def _write_voc(content: CocoContent, out: Path, split: str, corners: str, link: bool) -> Conversion:
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already: choose another --output, or remove it")
    if "/" in split or ":" in split or split in (".", ".."):
        raise ConfigError(f"--split {split}: expected the name of a list, without / and :, such as train")
    files = voc_files(content, split, corners)
    parts = sorted({path.partition("/")[0] for path in files} | {"JPEGImages"})
    _write_folder(out, files, _image_files(content, "JPEGImages"), link, parts)
    return Conversion(content.summary(), f"voc:{out}:{split}")


def _image_files(content: CocoContent, folder: str) -> dict[str, Path]:
    """Path below the root -> image; all must be there, of the size that is said, and below their folder."""
    found: dict[str, Path] = {}
    errors = []
    raise_errors(content.names_outside(), content.source)
    for image in content.images:
        name = Path(image["file_name"])
        path = Path(content.image_dir).expanduser() / name
        try:
            shown_size(path, (image["width"], image["height"]), f"image id {image['id']}")
        except (DataError, FileNotFoundError) as error:
            errors.append(str(error))
        found[f"{folder}/{name.as_posix()}"] = path
    raise_errors(errors, content.source)
    return found


def _write_folder(
    out: Path, texts: Mapping[str, str], images: Mapping[str, Path], link: bool, parts: list[str]
) -> None:
    """Write files and images below a folder beside `out`, then move the parts, which are new there, into it."""
    make_folder(out)
    with named_output(out):
        work = Path(tempfile.mkdtemp(prefix=".converting.", dir=out))
        try:
            for name, text in texts.items():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                write_small(work / name, text)
            for name, image in images.items():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                if link:
                    (work / name).symlink_to(image.absolute())
                else:
                    shutil.copyfile(image, work / name)
            for part in (part for part in parts if (work / part).exists()):
                (out / part).parent.mkdir(exist_ok=True)
                os.rename(work / part, out / part)
        finally:
            shutil.rmtree(work, ignore_errors=True)
