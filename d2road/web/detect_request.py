"""The tab Detect: boxes in an image, in 3D with the scene from above, step by step where the model denoises them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2road.engine.meta_arch import SamplingSetting
from d2road.structures import Camera
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import write_image
from d2road.utils.output_files import write_json
from d2road.web.result_files import ResultFolders, result_stem, write_table
from d2road.web.served_model import Request, ServedModel
from d2road.web.uploads import UploadLimits, camera_of_request

COLUMNS = ("image_id", "file_name", "category_id", "category_name", "left", "top", "width", "height", "score")
AUTOMATIC, IN_2D, IN_3D = KINDS = ("3D where a camera is given", "2D", "3D")


@dataclass(frozen=True)
class DetectUpload:
    """Files and numbers of a request; see `camera_of_request`, `Request` and, for kind, `choose_model`."""

    image: Path
    calib: Path | None = None
    denorm: Path | None = None
    focal_px: float | None = None
    confidence: float = 0.5
    sampling: SamplingSetting | None = None
    kind: str = AUTOMATIC


@dataclass(frozen=True)
class DetectResult:
    """text: what was found; image: all that was found; steps: images of the denoising steps; files: for downloading."""

    text: str
    image: Path
    steps: list[Path]
    files: list[Path]


def choose_model(models: Sequence[ServedModel], kind: str, camera: Camera | None) -> ServedModel:
    """The detector of a request.

    Args:
        models: one, or one that finds boxes in 2D and one in 3D; a single one is always taken.
        kind: of KINDS. camera: of the image, None where nothing tells it.
    Raises:
        ConfigError: a kind that is not of KINDS.
    """
    if kind not in KINDS:
        raise ConfigError(f"boxes are asked for as {kind!r}, expected {', '.join(KINDS)}")
    in_3d = camera is not None if kind == AUTOMATIC else kind == IN_3D
    return next((model for model in models if model.needs_camera == in_3d), models[0])


def detect(
    models: Sequence[ServedModel], upload: DetectUpload, limits: UploadLimits, folders: ResultFolders
) -> DetectResult:
    """Detect objects in an uploaded image.

    Args:
        models: see `choose_model`.
    Raises:
        D2RoadError, OSError: what was uploaded, or the model's files, cannot be used.
    """
    image_bgr = limits.read_image(upload.image)
    camera = camera_of_request(image_bgr, upload.calib, upload.denorm, upload.focal_px)
    model = choose_model(models, upload.kind, camera)
    sampling = upload.sampling if model.sampling is not None or len(models) == 1 else None
    with_steps = model.sampling is not None
    origin = {"file_name": upload.image.name}
    answer = model.ask(
        Request(image_bgr, camera, upload.confidence, (), sampling, with_steps=with_steps, origin=origin)
    )
    folder = folders.new()
    drawn = folder / f"{result_stem(upload.image)}_detected.png"
    write_image(drawn, answer.image_rgb)
    steps = [folder / f"{result_stem(upload.image)}_step_{number}.png" for number in range(1, len(answer.steps) + 1)]
    for path, image in zip(steps, answer.steps):
        write_image(path, image)
    found = answer.rows
    write_json(folder / "predictions.json", found)
    table = folder / "predictions.csv"
    write_table(table, found, COLUMNS)
    text = _summary(found, upload.confidence, sampling)
    if len(models) > 1:
        text += f". Boxes in {IN_3D if model.needs_camera else IN_2D} by {model.cfg.MODEL.WEIGHTS}"
    return DetectResult(text, drawn, steps, [drawn, folder / "predictions.json", table])


def _summary(found: list[dict], confidence: float, sampling: SamplingSetting | None) -> str:
    counts = Counter(str(row.get("category_name", f"class {row['category_id']}")) for row in found)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    text = f"{len(found)} found from a score of {confidence:g} on" + (f": {listed}" if listed else "")
    if sampling is not None:
        s = sampling
        text += f". {s.steps} step(s) of {s.sampler} on {s.num_boxes} boxes, seed {s.seed}"
    return text
