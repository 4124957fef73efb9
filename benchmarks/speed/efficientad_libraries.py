"""EfficientAD-S beside the published network in OpenVINO and onnxruntime, as they convert it; 256 x 256, one image.

Random weights on a random image: neither changes the time. In fp32 all maps are equal to 1e-4, or nothing is measured.
OpenVINO's 8 bits are made by NNCF, of the same calibration images, in an interpreter of its own (--nncf PYTHON).
"""

import io
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.efficientad_candidates import GOOD_IMAGES, calibrated, random_images
from benchmarks.speed.interleaved import Call, row, time_in_turns
from benchmarks.speed.plain_efficientad import BORDER, PlainEfficientAD
from d2road.engine.backend_model import BackendModel
from d2road.export.engines import OpenVinoSession
from d2road.export.graph import ExportOptions
from d2road.export.openvino_core import openvino_core
from d2road.export.precision import INT8
from d2road.export.test_images import generated_images
from d2road.utils.processor import multiplies_bytes

MAP_TOLERANCE = 1e-4
AIMS = {"fp32": 1.3, "bf16": 1.0, "int8": 1.0}
NNCF = """
import sys, numpy, nncf, openvino
source, images, target = sys.argv[1:]
data = nncf.Dataset([image[None] for image in numpy.load(images)])
openvino.save_model(nncf.quantize(openvino.Core().read_model(source), data), target, compress_to_fp16=False)
"""


class PublishedMaps(nn.Module):
    """`PlainEfficientAD` as one graph: images (1, 3, H, W) in 0..255 to maps (1, 1, H, W)."""

    def __init__(self, plain: PlainEfficientAD):
        super().__init__()
        self.plain = plain

    def forward(self, images: Tensor) -> Tensor:
        """See above."""
        plain = self.plain
        x = (images - plain.mean) / plain.std
        teacher = (plain.teacher(x) - plain.teacher_mean) / plain.teacher_std
        student, autoencoder = plain.student(x), plain.autoencoder(x)
        pairs = (teacher, student[:, : plain.channels]), (autoencoder, student[:, plain.channels :])
        maps = [((one - other) ** 2).mean(1, keepdim=True) for one, other in pairs]
        maps = [0.1 * (one - start) / (end - start) for one, (start, end) in zip(maps, plain.quantiles)]
        combined = F.pad(0.5 * maps[0] + 0.5 * maps[1], (BORDER,) * 4)
        return F.interpolate(combined, (int(images.shape[2]), int(images.shape[3])), mode="bilinear")


def rows(runs: int, seed: int, nncf: str) -> list[dict]:
    """Rows of the table; of 8 bits where an interpreter with NNCF is named."""
    entries = random_images(1, seed)
    published = PublishedMaps(PlainEfficientAD(calibrated("small", seed)).eval())
    calls = {f"ours {name}": our_call(name, seed, entries) for name in ("fp32", "bf16", "int8")}
    calls |= library_calls(published, entries[0]["image"][None], seed, nncf)
    with torch.no_grad():
        expected = published(entries[0]["image"][None])[0, 0].numpy()
    for name in ("ours fp32", "OpenVINO fp32", "onnxruntime fp32"):
        off = float(np.abs(calls[name]() - expected).max())
        if off > MAP_TOLERANCE:
            raise RuntimeError(f"maps of {name} differ by {off} from those of the published network")
    seconds = time_in_turns(calls, runs)
    named = "EfficientAD-S {} beside OpenVINO of the published network"
    found = []
    for kind, aim in AIMS.items():
        if f"OpenVINO {kind}" in seconds:
            found.append(row(named.format(kind), seconds, f"ours {kind}", f"OpenVINO {kind}", aim))
    return [*found, row("EfficientAD-S fp32 beside onnxruntime", seconds, "ours fp32", "onnxruntime fp32", 1.0)]


def our_call(precision: str, seed: int, entries: list[dict]) -> Call:
    """Our model's map in a precision that it is calibrated for, by the library that INFERENCE.BACKEND auto takes."""
    model = calibrated("small", seed, precision)
    if precision == INT8 and multiplies_bytes():
        graph = model.export_graph(None, list(generated_images()), ExportOptions())
        backend = BackendModel(model, graph, OpenVinoSession.engine, precision, "RGB")
        return lambda: backend(entries)[0]["anomaly_map"].numpy()
    model.fold_for_inference()
    return lambda: model(entries)[0]["anomaly_map"].numpy()


def library_calls(published: PublishedMaps, image: Tensor, seed: int, nncf: str) -> Mapping[str, Call]:
    """OpenVINO in its precisions, and onnxruntime."""
    buffer, threads, pixels = io.BytesIO(), torch.get_num_threads(), image.numpy()
    torch.onnx.export(published.eval(), (image,), buffer, dynamo=False, opset_version=18, input_names=["images"])
    core, content = openvino_core(), buffer.getvalue()

    def compiled(model: openvino.Model, hint: str) -> Call:
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        request = core.compile_model(model, "CPU", options)
        return lambda: request(pixels)[0][0, 0]

    calls = {f"OpenVINO {name}": compiled(core.read_model(content), hint)
             for name, hint in (("fp32", "f32"), ("bf16", "bf16"))}  # fmt: skip
    if nncf:
        calls["OpenVINO int8"] = compiled(quantized(content, seed, nncf), "f32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return calls | {"onnxruntime fp32": lambda: session.run(None, {"images": pixels})[0][0, 0]}


def quantized(content: bytes, seed: int, nncf: str) -> openvino.Model:
    """The published network in 8 bits by NNCF, of the images that ours is calibrated on."""
    with tempfile.TemporaryDirectory() as folder:
        source, images, target = (Path(folder) / name for name in ("model.onnx", "images.npy", "int8.xml"))
        source.write_bytes(content)
        np.save(images, np.stack([entry["image"].numpy() for entry in random_images(GOOD_IMAGES, seed + 1)]))
        subprocess.run([nncf, "-c", NNCF, str(source), str(images), str(target)], check=True, capture_output=True)
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # the file goes away
        return core.read_model(str(target))
