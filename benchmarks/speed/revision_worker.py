"""What a checkout does of a few fixed things, each when it is told to, timed by itself. Run inside the checkout.

    cd TREE; PYTHONPATH=. python -c PROGRAM FOLDER THREADS < commands          PROGRAM of earlier_revision.py

Knows the packages by the names of all revisions. FOLDER is shared by the checkouts: the first writes the weights that
the others take. A command a line: "toy1", "toy4" (sampling steps), "sentence", "step", the first three also as
"toy1:bf16"; answers are lines of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

PACKAGE = "d2road" if Path("d2road").is_dir() else "d2ext"
SIZE, OBJECTS, IMAGES = (252, 448), 6, 2
CLASSES = ("car", "van", "truck", "bus", "cyclist", "pedestrian")
WORDS = ("the", "white", "car", "left", "of", "a", "bus", "second", "from", "behind")


def make_cfg(file: str, opts: list[Any]) -> Any:
    """A config of this checkout."""
    return import_module(f"{PACKAGE}.config.setup").make_cfg(file, opts)


def shared_weights(model: torch.nn.Module, file: Path) -> torch.nn.Module:
    """The model with the weights in the folder, which it writes if it is the first."""
    if not file.is_file():
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=False))
    return model


def detector(steps: int, precision: str) -> Callable[[], Any]:
    """Prediction of the toy detector on an image, by the checkout's own `Predictor`."""
    weights = "zoo:diffusion_det_toy" if PACKAGE == "d2road" else "models/diffusion_det_toy.pth"
    keys = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights, "MODEL.DiffusionDet.NUM_CLASSES", 4]
    keys += ["MODEL.DiffusionDet.SAMPLE_STEP", steps, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
    keys += ["INFERENCE.PRECISION", precision] if precision else []
    cfg = make_cfg("configs/diffusion_det/toy_roadside/effnet_lite0.yaml", keys)
    predict = import_module(f"{PACKAGE}.engine.predictor").Predictor(cfg)
    image = np.random.default_rng(0).integers(0, 256, (540, 960, 3), dtype=np.uint8)
    return lambda: len(predict(image)["instances"])


def grounder(folder: Path) -> tuple[Any, torch.nn.Module]:
    """Config and model of the grounder."""
    fusion = "unidirectional" if PACKAGE == "d2road" else "frozen"
    cfg = make_cfg("configs/mono3dvg/Base-Small.yaml", ["MODEL.DEVICE", "cpu", "MODEL.MONO3DVG.FUSION.NAME", fusion])
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.MODEL.WEIGHTS = cfg.MODEL.TIMM.WEIGHTS = ""
    node = cfg.MODEL.MONO3DVG
    node.CLASSES, node.RY_FRAME = CLASSES, "ground"
    node.DIMENSION_PRIORS = ((1.6, 1.8, 4.2),) * len(CLASSES)
    torch.manual_seed(0)
    model = build_model(cfg)
    model.text_encoder.learn_tokenizer([" ".join(WORDS)] * 2)
    model = shared_weights(model, folder / "grounder.pt")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # so that losses can be compared
    return cfg, model


def scenes(count: int, sentences: int) -> list[dict]:
    """Random images of labelled objects, with sentences about the first of them."""
    camera = import_module(f"{PACKAGE}.structures").Camera
    generator, (height, width) = torch.Generator().manual_seed(0), SIZE
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    found = []
    for number in range(count):
        corners = torch.rand(OBJECTS, 2, generator=generator) * torch.tensor([width * 0.8, height * 0.8])
        instances = Instances(SIZE)
        instances.gt_boxes = Boxes(torch.cat([corners, corners + 24], 1))
        instances.gt_classes = torch.arange(OBJECTS)
        depth = 20 + 3 * torch.arange(OBJECTS, dtype=torch.float32)
        centres = corners + 12
        x, y = (centres[:, 0] - width / 2) / (0.8 * width) * depth, (centres[:, 1] - height / 2) / (0.8 * width) * depth
        size = torch.tensor([[1.6, 1.8, 4.2]]).repeat(OBJECTS, 1)
        instances.gt_boxes3d = torch.cat([torch.stack([x, y + 0.8, depth], 1), size, torch.zeros(OBJECTS, 1)], 1)
        instances.gt_has_3d = torch.ones(OBJECTS, dtype=torch.bool)
        instances.gt_ignore = torch.zeros(OBJECTS, dtype=torch.bool)
        texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(8)) for i in range(sentences)]
        found.append({
            "image": torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8),
            "camera": camera(K, [0.0, -0.97, -0.24, 6.0]), "instances": instances, "image_id": number,
            "height": height, "width": width, "file_name": f"{number}.png",
            "expressions": [{"id": i, "text": text, "targets": [i % OBJECTS]} for i, text in enumerate(texts)],
        })  # fmt: skip
    return found


def sentence(folder: Path, precision: str) -> Callable[[], Any]:
    """An answer to one sentence about one image."""
    _, model = grounder(folder)
    model.eval()
    if PACKAGE == "d2road":
        import_module("d2road.engine.meta_arch").prepare_for_inference(model)
        model.set_precision(precision or "fp32")
    else:
        import_module("d2ext.modeling.fuse").fuse_for_inference(model)
    inputs = scenes(1, 1)

    @torch.no_grad()
    def answer() -> float:
        return float(model(inputs)[0]["groundings"][0]["scores"].sum())

    return answer


def training_step(folder: Path) -> Callable[[], Any]:
    """A training step on images with three sentences each; gives the loss before it."""
    cfg, model = grounder(folder)
    optimizer = import_module(f"{PACKAGE}.engine.solver").build_optimizer(cfg, model.train())
    inputs = scenes(IMAGES, 3)

    def step() -> float:
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = sum(model(inputs).values())
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def main() -> None:
    """Answer commands."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    if PACKAGE == "d2road":
        import_module("benchmarks.speed.interleaved").prepare_process(int(sys.argv[2]))
    makers = {"toy1": lambda precision: detector(1, precision), "toy4": lambda precision: detector(4, precision),
              "sentence": lambda precision: sentence(folder, precision),
              "step": lambda precision: training_step(folder)}  # fmt: skip
    calls: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        name = line.strip()
        what, _, precision = name.partition(":")
        calls[name] = calls.get(name) or makers[what](precision)
        clocks = time.process_time(), time.perf_counter()
        value = calls[name]()
        seconds = time.process_time() - clocks[0], time.perf_counter() - clocks[1]
        print(json.dumps({"name": name, "value": value, "cpu": seconds[0], "wall": seconds[1]}), flush=True)
