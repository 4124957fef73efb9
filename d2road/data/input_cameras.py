"""The camera of each input of a prediction, from calibration files."""

from pathlib import Path

from d2road.data.camera_files import read_camera
from d2road.data.roadside_camera_files import is_camera_file, read_roadside_camera
from d2road.structures.camera import Camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.utils.errors import ConfigError, DataError


class CameraFiles:
    """The camera of each input; none without calibration files.

    Args:
        calib: a file with P2 or a camera.yaml for all inputs, or a folder with STEM.txt for each; "" for none.
        denorm: a file with the ground plane, or a folder of them; "" for none. camera.yaml has its own.
    Raises:
        ConfigError: a ground plane without a calibration, or beside one that has it.
        DataError: camera.yaml is none, or of a lens that distorts.
    """

    def __init__(self, calib: str = "", denorm: str = ""):
        if denorm and not calib:
            raise ConfigError("--denorm gives the ground plane of a camera, which --calib must give")
        self.calib, self.denorm = calib, denorm
        self.roadside = read_roadside_camera(calib) if calib and is_camera_file(calib) else None
        if self.roadside is None:
            return
        if denorm:
            raise ConfigError(f"--calib {calib} has the ground plane already: leave --denorm away")
        require_pinhole(self.roadside, f"--calib {calib}")

    def __call__(self, file: Path) -> Camera | None:
        """Raises FileNotFoundError, ValueError as `read_camera`."""
        if self.roadside is not None:
            return self.roadside.pinhole
        if not self.calib:
            return None
        paths = {"calib_file": self.calib, "denorm_file": self.denorm}
        folders = {key: str(Path(p) / f"{file.stem}.txt") if Path(p).is_dir() else p for key, p in paths.items() if p}
        return read_camera({"file_name": str(file), **folders})

    def require_size(self, width: int, height: int) -> None:
        """Raise DataError where the calibration says for which size it was made, and an image has another one."""
        if self.roadside is not None:
            self.roadside.require_size(width, height, "the image")


def require_pinhole(camera: RoadsideCamera, source: str) -> None:
    """Raise DataError that names the source of a calibration whose lens distorts."""
    if camera.distortion.any():
        raise DataError(
            f"{source}: the lens distorts, and images are taken as a pinhole camera's: undistort them and give P2, or "
            "give the video to `d2road track`, which undoes it"
        )
