"""The one lookup of shipped weights: the handler of `d2road://` in Detectron2's path manager."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from d2road.utils.errors import CheckpointError
from d2road.utils.registry import unknown_name

PREFIX = "d2road://"
FOLDER = Path(__file__).resolve().parent

# Name -> SHA-256 of the file, which lies in this folder and is package data.
SHIPPED: dict[str, str] = {
    "diffusion_det_toy.pth": "987bc82437ee149554b7f7ca55ad7674d0e76b32dd2eb18f44b8b255bbc1f579",
    "efficientad_teacher_narrow_own.pth": "24fcb12d072784c4d81d94c5558eb445ef4a9a6522e98c0f075ca7b079931244",
    "efficientad_teacher_narrow_photographs.pth": "f93e02b13c271283891b902bb75d8292c9d132115a65345bb59010cd80d1f43b",
}

# The classes that the numbers of each mean, which the files themselves do not say.
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "diffusion_det_toy.pth": ("car", "big_vehicle", "cyclist", "pedestrian"),
}


def shipped_class_names(path: str) -> tuple[str, ...]:
    """The class names of shipped weights, by their address or their file; () for other files."""
    name = path.removeprefix(PREFIX) if path.startswith(PREFIX) else Path(path).name
    if not path.startswith(PREFIX) and Path(os.path.realpath(path)) != FOLDER / name:
        return ()
    return CLASS_NAMES.get(name, ())


@lru_cache
def shipped_file(name: str) -> Path:
    """The file of shipped weights; its checksum is compared once a process.

    Args:
        name: one of `SHIPPED`, without `d2road://`.
    Raises:
        CheckpointError: no such weights are shipped, or the file is not the one that was shipped.
        FileNotFoundError: the package was installed without it.
    """
    if name not in SHIPPED:
        raise CheckpointError(unknown_name("shipped weights file", name, SHIPPED))
    path = FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(f"{PREFIX}{name}: {path} is missing; install d2road again")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHIPPED[name]:
        raise CheckpointError(
            f"{PREFIX}{name}: {path} has SHA-256 {found}, expected {SHIPPED[name]}: it was changed or cut off (or is a "
            "pointer of Git LFS); install d2road again, or check the file out anew"
        )
    return path


class ShippedWeightsHandler(PathHandler):
    """Path handler of `d2road://NAME`, for reading alone."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(shipped_file(path.removeprefix(PREFIX)))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return path.removeprefix(PREFIX) in SHIPPED

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._isfile(path)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if not set(mode) <= set("rbt"):
            raise ValueError(f"{path} is shipped weights, open for reading alone; got mode {mode!r}")
        return open(self._get_local_path(path), mode, buffering)  # the caller closes it


PathManager.register_handler(ShippedWeightsHandler(), allow_override=True)
