"""Small made-up categories in the layouts of the benchmarks, with maps that find some of the anomalies."""

import json
from pathlib import Path

import cv2
import numpy as np

SIZE = 40, 52  # height, width
CONFIG = [
    {"defect_name": "gap", "pixel_value": 255, "saturation_threshold": 30, "relative_saturation": False},
    {"defect_name": "dirt", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
]


def write_category(root: Path, loco: bool = False, images: int = 4, seed: int = 0) -> tuple[Path, Path]:
    """A category's folder and one with its maps (.tiff of float32), `images` of each kind.

    Args:
        loco: masks in folders, a defect each, with defects_config.json; else one mask an image.
    """
    rng, data, maps = np.random.default_rng(seed), root / "data" / "thing", root / "maps" / "thing"
    kinds = ("good", "logical_anomalies", "structural_anomalies") if loco else ("good", "dent", "scratch")
    for kind in kinds:
        for number in range(images):
            name, anomaly_map = f"{number:03d}", rng.normal(size=SIZE).round(2)
            _write(data / "test" / kind / f"{name}.png", rng.integers(0, 256, (*SIZE, 3)))
            for defect in range(0 if kind == "good" else 1 + (loco and number % 2)):
                mask = np.zeros(SIZE, dtype=np.uint8)
                y, x = rng.integers(0, 25, 2)
                mask[y : y + 9, x : x + 12] = 255 - defect
                anomaly_map += (mask > 0) * rng.uniform(0.5, 3)
                folder = data / "ground_truth" / kind
                _write(folder / name / f"{defect:03d}.png" if loco else folder / f"{name}_mask.png", mask)
            _write(maps / "test" / kind / f"{name}.tiff", anomaly_map.astype(np.float32))
    if loco:
        (data / "defects_config.json").write_text(json.dumps(CONFIG))
    return data, maps


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels if pixels.dtype == np.float32 else pixels.astype(np.uint8))


def read_all(data: Path, maps: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, map, union of masks) of every image, by plain means."""
    found = []
    for path in sorted(maps.glob("test/*/*.tiff")):
        kind, anomaly_map = path.parent.name, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        files = [*(data / "ground_truth" / kind).glob(f"{path.stem}_mask.png")]
        files += (data / "ground_truth" / kind / path.stem).glob("*.png")
        masks = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 0 for file in files]
        found.append((kind, anomaly_map, np.any(masks, axis=0) if masks else np.zeros(SIZE, bool)))
    return found
