"""Path handler of `zoo:NAME` and `d2road://NAME` in Detectron2's path manager, registered when this is imported."""

from typing import IO, Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from d2road.model_zoo.shipped_files import shipped_file
from d2road.utils.addresses import SHIPPED, ZOO, zoo_name
from d2road.utils.errors import CheckpointError


class ShippedFilesHandler(PathHandler):
    """Path handler of the model zoo, for reading alone."""

    def _get_supported_prefixes(self) -> list[str]:
        return [ZOO, SHIPPED]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(shipped_file(zoo_name(path) or ""))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        try:
            return shipped_file(zoo_name(path) or "").is_file()
        except (CheckpointError, FileNotFoundError):
            return False

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._isfile(path)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if not set(mode) <= set("rbt"):
            raise ValueError(f"{path} is a shipped file, open for reading alone; got mode {mode!r}")
        return open(self._get_local_path(path), mode, buffering)  # the caller closes it


PathManager.register_handler(ShippedFilesHandler(), allow_override=True)
