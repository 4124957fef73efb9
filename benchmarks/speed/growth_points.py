"""What grows in `growth`: for each axis its values, and what is done at one of them. One point runs in a process.

Random weights on random images, sentences and made-up traffic: neither changes time or memory.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.process_memory import MEGABYTE, peak_mb

Call = Callable[[], Any]
DETECTOR = "configs/diffusion_det/toy_roadside/effnet_lite0.yaml"
SIZE = (256, 448)
STEP_S, SPEED, HEADWAY, VEHICLES = 1.0, 20.0, 40.0, 8  # of made-up traffic: s, m/s, m; on the road at any time


@dataclass(frozen=True)
class Axis:
    """What grows.

    Attributes:
        system: that it is of. unit: of the values.
        values: rising.
        prepare: from a value to what is timed.
        time, memory: what is claimed of them, "linear", "flat" or "" for nothing.
    """

    system: str
    unit: str
    values: tuple[float, ...]
    prepare: Callable[[float], Call]
    time: str = "linear"
    memory: str = ""


def measure(axis: Axis, value: float, runs: int) -> dict[str, Any]:
    """Processor seconds of the fastest run, MB that it takes beyond what is there before, the highest of all, and the
    highest of each quarter of the last run."""
    call = axis.prepare(value)
    before, seconds, samples = _resident_mb(), [], []
    for _ in range(runs):
        start = time.process_time()
        samples = sampled(call)
        seconds.append(time.process_time() - start)
    return {
        "value": value, "seconds": min(seconds), "memory_mb": max(peak_mb() - before, 0.0), "peak_mb": peak_mb(),
        "mb_by_quarter": by_quarter(samples),
    }  # fmt: skip


def _resident_mb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / MEGABYTE


def detector(boxes: int = 100, steps: int = 1, size: tuple[int, int] = SIZE) -> Call:
    """DiffusionDet on an image."""
    import torch

    from benchmarks.speed import diffusion_det_inputs
    from d2road.engine import meta_arch

    options = argparse.Namespace(config_file=DETECTOR, opts=["MODEL.DEVICE", "cpu"], size=size, seed=0)
    cfg, model = diffusion_det_inputs.build(options, boxes, steps)
    inputs = diffusion_det_inputs.random_inputs(options, 1, cfg.MODEL.DiffusionDet.NUM_CLASSES, False)
    meta_arch.prepare_for_inference(model.eval())
    return torch.no_grad()(lambda: model(inputs))


def grounder(sentences: int = 1, size: tuple[int, int] = SIZE) -> Call:
    """Mono3DVG on an image and sentences of 12 words."""
    import torch

    from benchmarks.speed import speed_mono3dvg
    from d2road.engine import meta_arch

    options = argparse.Namespace(
        config_file=speed_mono3dvg.CONFIG, opts=["MODEL.DEVICE", "cpu"], seed=0, what=["infer"]
    )
    _, model = speed_mono3dvg.build(options)
    inputs = [speed_mono3dvg.random_input(options, size, sentences, 12)]
    meta_arch.prepare_for_inference(model)
    return torch.no_grad()(lambda: model(inputs))


def words(count: int) -> Call:
    """Text filter and fusion of Mono3DVG, which are state space models, on a sentence of so many words."""
    import torch

    from benchmarks.speed import speed_mono3dvg

    options = argparse.Namespace(
        config_file=speed_mono3dvg.CONFIG, opts=["MODEL.DEVICE", "cpu"], seed=0, what=["infer"]
    )
    model: Any = speed_mono3dvg.build(options)[1]
    with torch.no_grad():
        image = model.encode_maps([speed_mono3dvg.random_input(options, (64, 96), 0, 1)])
    features = torch.randn(1, count, model.text_encoder.norm.normalized_shape[0])
    mask, image_of = torch.ones(1, count, dtype=torch.bool), torch.zeros(1, dtype=torch.long)

    def call() -> None:
        filtered, relevance = model.text_encoder.filter(features, mask)
        model.neck(image.maps, image_of, filtered, mask, relevance, image.covered)

    return torch.no_grad()(call)


def anomaly(side: int, tile: int = 0) -> Call:
    """EfficientAD-S on a square image, whole or in tiles."""
    import torch
    from detectron2.modeling import build_model

    from benchmarks.speed.efficientad_candidates import CONFIG
    from d2road.config import make_cfg
    from d2road.utils.rng import seeded_rng

    node = "MODEL.EFFICIENT_AD."
    keys: list[Any] = ["MODEL.DEVICE", "cpu", node + "TEACHER", "random", "INPUT.IMAGE_SIZE", f"({side}, {side})"]
    keys += [node + "TILING.ENABLED", True, node + "TILING.TILE", (tile, tile)] if tile else []
    with seeded_rng(0):
        model = build_model(make_cfg(str(CONFIG), keys)).eval()
        image = torch.rand(3, side, side) * 255
    model.fold_for_inference()

    def call() -> None:
        for raw in model.raw_maps(model.preprocess([{"image": image}])):
            model.anomaly_map(raw, (side, side))

    return torch.no_grad()(call)


def readers(vehicles: int) -> Call:
    """A stream of windows of FCD of ten minutes with so many vehicles at any time."""
    from d2road.traffic.readers import open_trajectories

    path = _made_fcd(600.0, vehicles)
    return lambda: sum(len(chunk) for chunk in open_trajectories(path).chunks(60))


def stream(hours: float) -> Call:
    """`d2road score-stream` by rules, of so many hours of light traffic, at full speed."""
    from d2road.cli import score_stream

    good, path = _made_fcd(1800.0, VEHICLES), _made_fcd(3600.0 * hours, VEHICLES)

    def score(source: Path) -> None:
        options = ["--method", "rules", "--good", f"fcd:{good}", "--input", f"fcd:{source}", "--threshold", "1000"]
        if score_stream.main([*options, "TIME_SPACE.S_RANGE", f"(0, {HEADWAY * VEHICLES})"]):
            raise SystemExit("score-stream failed")

    score(good)  # imports what it needs
    return lambda: score(path)


def _made_fcd(seconds: float, vehicles: int) -> Path:
    """A file of vehicles that drive behind each other; who has left the road comes again under another name."""
    path = Path(tempfile.mkdtemp()) / "traffic.xml"
    line = '<vehicle id="{}" x="{:.2f}" y="-1.60" angle="90.00" type="car" speed="{:.2f}" pos="{:.2f}" lane="main_0"/>'
    road = HEADWAY * vehicles
    noise = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("<fcd-export>\n")
        for step in range(round(seconds / STEP_S)):
            t = step * STEP_S
            speeds = SPEED + noise.normal(0, 0.2, vehicles)
            file.write(f'<timestep time="{t:.2f}">\n')
            for i in range(vehicles):
                travelled = SPEED * t + HEADWAY * i
                s = travelled % road
                file.write(line.format(f"{i}.{int(travelled // road)}", s, speeds[i], s) + "\n")
            file.write("</timestep>\n")
        file.write("</fcd-export>\n")
    return path


def sampled(call: Call, every_s: float = 0.2) -> list[float]:
    """The resident MB during a call, at regular times."""
    found, done = [_resident_mb()], threading.Event()

    def sample() -> None:
        while not done.wait(every_s):
            found.append(_resident_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()
    return found


def by_quarter(samples: list[float]) -> list[float]:
    """The highest of each quarter of the samples."""
    return [float(part.max()) for part in np.array_split(np.array(samples), 4) if len(part)]


AXES = {
    "detector_boxes": Axis("DiffusionDet", "boxes", (100, 200, 400, 800), lambda n: detector(boxes=int(n)), time=""),
    "detector_steps": Axis("DiffusionDet", "steps", (1, 2, 4, 8), lambda n: detector(steps=int(n)), memory="flat"),
    "detector_pixels": Axis(
        "DiffusionDet", "pixels of 256 x 448", (1, 4, 9), lambda n: detector(size=_scaled(n)), memory="linear"
    ),
    "grounder_sentences": Axis("Mono3DVG", "sentences", (1, 4, 16, 64), lambda n: grounder(sentences=int(n))),
    "grounder_words": Axis("Mono3DVG", "words", (64, 256, 1024, 4096), lambda n: words(int(n)), memory="linear"),
    "grounder_pixels": Axis(
        "Mono3DVG", "pixels of 256 x 448", (1, 4, 9), lambda n: grounder(size=_scaled(n)), memory="linear"
    ),
    "anomaly_pixels": Axis(
        "EfficientAD", "pixels of 256 x 256", (1, 4, 16), lambda n: anomaly(round(256 * n**0.5)), memory="linear"
    ),
    "anomaly_tiles": Axis(
        "EfficientAD", "pixels of 256 x 256, in tiles", (4, 16, 64),
        lambda n: anomaly(round(256 * n**0.5), tile=256), memory="flat",
    ),
    "traffic_vehicles": Axis("traffic", "vehicles", (100, 400, 1600), lambda n: readers(int(n)), memory="linear"),
    "traffic_hours": Axis("traffic", "hours", (1.5, 6, 24), stream, memory="flat"),
}  # fmt: skip


def _scaled(pixels: float) -> tuple[int, int]:
    """Height and width of so many times the pixels of SIZE."""
    height, width = (round(side * pixels**0.5) for side in SIZE)
    return height, width
