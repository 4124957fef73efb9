"""Which images and videos a prediction is about, by file, folder, pattern, list and archive, and where copies go."""

import fnmatch
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from d2road.engine.tar_images import Member, is_archive, list_images
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import text_lines, walk_files
from d2road.video import is_animation

logger = logging.getLogger(__name__)

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
LISTS = {".txt"}
SHOWN = 5  # kinds of files that are left out


@dataclass(frozen=True)
class Source:
    """An image or a video that is predicted on: a file, or with `member` an image in the archive `path`.

    Args:
        is_animated: an image of several frames, such as a GIF, which is worked off as a video.
    """

    path: Path
    member: Member | None = None
    is_animated: bool = False

    @property
    def name(self) -> Path:
        """What it is called in results: the path, of a member that of its archive with its name behind it."""
        return self.path / self.member.name if self.member else self.path

    @property
    def is_video(self) -> bool:
        """Whether it is named as a video, or is an animated image."""
        return self.is_animated or (self.member is None and self.path.suffix.lower() in VIDEOS)

    @property
    def copy_suffix(self) -> str:
        """Of the annotated copy."""
        kind = self.name.suffix.lower()
        return ".mp4" if self.is_video else kind if kind in (".jpg", ".jpeg", ".png") else ".png"

    @property
    def state(self) -> tuple[int, int]:
        """Size in bytes and time of change of the file, by which a later run knows it again; zeros where it is gone."""
        try:
            status = os.stat(self.path)
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns


def find_sources(inputs: Sequence[str]) -> tuple[list[Source], list[str]]:
    """Images and videos that inputs name, each once, and what is wrong with the others.

    Inputs are files, folders, patterns, tar archives, and lists: text files (.txt) with an input a line, which are
    looked for from where the program was started, or else from the folder of the list.
    """
    named, problems = [], []
    for text in inputs:
        path = Path(text)
        if path.suffix.lower() not in LISTS or not path.is_file():
            named.append(text)
            continue
        try:
            named += _listed(path)
        except (OSError, DataError) as error:
            problems.append(f"{text}: {error}")
    files, missing = find_inputs(named)
    problems += missing
    sources: list[Source] = []
    for file in files:
        if not is_archive(file):
            sources.append(Source(file, is_animated=is_animation(file)))
            continue
        try:
            members = list_images(file, IMAGES)
            if not members:
                raise DataError("no images in this archive")
            sources += [Source(file, member) for member in members]
        except (OSError, DataError) as error:
            problems.append(f"{file}: {str(error).removeprefix(f'archive {file} ')}")
    return sources, problems


def _listed(path: Path) -> list[str]:
    """The inputs of a list. Raises DataError where it holds none, or names a list."""
    lines = [line.strip() for line in text_lines(path, "list of inputs") if line.strip()]
    if not lines:
        raise DataError(f"list of inputs {path} is empty, expected a file, folder or pattern a line")
    nested = next((line for line in lines if Path(line).suffix.lower() in LISTS), None)
    if nested is not None:
        raise DataError(f"list of inputs {path} names {nested}, and a list in a list is not read: name it by --input")
    beside = [path.parent / line for line in lines]
    return [line if Path(line).exists() or not there.exists() else str(there) for line, there in zip(lines, beside)]


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files that inputs (files, folders, patterns) name, each once, and what is wrong with the others.

    What is named as an image or a video but cannot be read as a file is among them: reading tells what it is.
    """
    found: list[Path] = []
    problems = []
    for text in inputs:
        path = Path(text)
        try:
            if path.is_dir():
                files = _in_folder(path)
                if not files:
                    problems.append(f"{text}: no images or videos in this folder")
            else:
                files = [path] if path.is_file() else _fitting(text)
                if not files:
                    problems.append(f"{text}: no such file, and no file fits it as a pattern")
        except OSError as error:  # a folder that may not be read
            problems.append(f"{text}: {error.strerror or error}")
            continue
        found.extend(files)
    return list(dict.fromkeys(found)), problems


def _in_folder(folder: Path) -> list[Path]:
    """Images and videos right inside; others are counted in the log."""
    files, others = [], Counter[str]()
    for path in sorted(folder.iterdir()):
        if is_named_as_input(path):
            files.append(path)
        elif path.is_file() and not path.name.startswith("."):
            others[path.suffix or path.name] += 1
    if others and files:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(SHOWN))
        logger.info("%s: %d files are no images or videos and are left out (%s)", folder, others.total(), kinds)
    return files


def is_named_as_input(path: Path) -> bool:
    """Whether a name is that of an image or a video."""
    return path.suffix.lower() in IMAGES | VIDEOS


def _fitting(pattern: str) -> list[Path]:
    """Files that fit a pattern, sorted; `**` is any number of folders, each of them looked into once."""
    if "**" not in pattern:
        return sorted(path for path in map(Path, glob(pattern)) if path.is_file() or is_named_as_input(path))
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if has_magic(part))
    root = Path(*parts[:fixed])
    if not root.is_dir():
        return []
    fits = re.compile(_expression(parts[fixed:]))
    found = [path for path in walk_files(root) if fits.fullmatch(path.relative_to(root).as_posix())]
    return [path for path in found if path.is_file() or is_named_as_input(path)]


def _expression(parts: Sequence[str]) -> str:
    """A regular expression for a path whose parts fit a pattern; as in a shell, hidden names fit hidden patterns."""
    visible = r"(?!\.)"
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += rf"(?:{visible}[^/]+/)*" + (rf"{visible}[^/]+" if last else "")
            continue
        inside = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z").replace(".*", "[^/]*")
        inside = re.sub(r"(?<!\\)\.(?!\*)", "[^/]", inside)
        text += ("" if part.startswith(".") else visible) + f"(?:{inside})" + ("" if last else "/")
    return text


def output_paths(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Where each annotated copy goes: the same name where the kind of file stays, else the stem with another suffix.

    Where that one is taken, it is the whole name with another suffix, as clip.avi.mp4 beside clip.mp4; files of the
    same name in several folders are numbered. Copies by other names are told in the log.

    Raises:
        ConfigError: a copy would replace one of the inputs.
    """
    files, suffixes = [source.name for source in sources], [source.copy_suffix for source in sources]
    taken = {file.stem + suffix for file, suffix in zip(files, suffixes) if file.suffix.lower() == suffix}
    once: set[str] = set()
    targets = []
    for file, suffix in zip(files, suffixes):
        first = file.stem if file.suffix.lower() == suffix or file.stem + suffix not in taken else file.name
        stem, number = first, 1
        while f"{stem}{suffix}" in once:
            number += 1
            stem = f"{first}_{number}"
        once.add(f"{stem}{suffix}")
        taken.add(f"{stem}{suffix}")
        targets.append(folder / f"{stem}{suffix}")
    overwritten = {_resolved(f) for f in files} & {_resolved(t) for t in targets}
    if overwritten:
        raise ConfigError(f"--output {folder} holds the inputs, which would be replaced; name another folder")
    return targets


def renamed_text(files: Sequence[Path], targets: Sequence[Path]) -> str:
    """Which copies are not called as their input is; "" where all are."""
    pairs = [f"{file.name} -> {target.name}" for file, target in zip(files, targets) if file.name != target.name]
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    return f"annotated copies by other names: {', '.join(pairs[:SHOWN])}{more}" if pairs else ""


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()
