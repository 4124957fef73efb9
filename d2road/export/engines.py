"""Engines that run exported graphs: onnxruntime, OpenVINO, PyTorch. Nothing is imported before it is needed.

A session takes a file, or the content of one. Of each class `offered` says which precisions it can compute in, `native`
which of them this processor multiplies itself.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from d2road.export.file_metadata import KEYS, PREFIX
from d2road.export.openvino_core import openvino_core
from d2road.export.precision import BF16, FP32
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.optional_packages import require_package


class FileSession(Protocol):
    """A loaded file.

    Attributes:
        engine: its name.
        entries: the metadata as text, see `file_metadata`.
    """

    engine: str
    entries: dict[str, str]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""


class OnnxRuntimeSession:
    """A .onnx file in onnxruntime, which has no products of bfloat16 on processors.

    Args:
        path: the file, or its content.
        threads: of the processor; 0 for onnxruntime's own choice.
        providers: of onnxruntime, the first that is there; None for the processor.
    """

    engine = "onnxruntime"
    offered = (FP32,)

    @classmethod
    def native(cls) -> tuple[str, ...]:
        """See above."""
        return (FP32,)

    def __init__(
        self,
        path: str | os.PathLike | bytes,
        threads: int = 0,
        providers: list[str] | None = None,
        precision: str = FP32,
    ):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=providers or ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes for a file that is none
            raise DataError(
                f"{_name(path)}: onnxruntime cannot load it ({_first_line(error)}); export it anew"
            ) from error
        self.output_names = [output.name for output in self._session.get_outputs()]
        self.entries: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        return dict(zip(self.output_names, self._session.run(None, dict(inputs)), strict=True))


class OpenVinoSession:
    """A .xml or .onnx file in OpenVINO on the processor.

    Args:
        path: the file, or the content of a .onnx file.
        threads: of the processor; 0 for OpenVINO's own choice.
        precision: fp32 or bf16. It is always told: what OpenVINO takes else depends on the machine.
    """

    engine = "openvino"
    offered = (FP32, BF16)

    @classmethod
    def native(cls) -> tuple[str, ...]:
        """See above."""
        capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return (FP32, BF16) if "BF16" in capabilities else (FP32,)

    def __init__(self, path: str | os.PathLike | bytes, threads: int = 0, precision: str = FP32):
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino_core()
        try:
            model = core.read_model(os.fspath(path))
            self._compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise DataError(f"{_name(path)}: OpenVINO cannot load it ({_first_line(error)}); export it anew") from error
        # An output may have several names, in no order; compiling adds some.
        self._names = [sorted(output.get_names()) for output in self._compiled.outputs]
        self.entries: dict[str, str] = {}
        for key in KEYS:
            if model.has_rt_info(["d2road", key]):
                self.entries[PREFIX + key] = model.get_rt_info(["d2road", key]).astype(str)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        found = self._compiled(dict(inputs))
        return {name: np.array(found[number]) for number, names in enumerate(self._names) for name in names}


class TorchSession:
    """A .pt2 file of torch.export in PyTorch, with torchvision where the model is a detector.

    Args:
        threads: of the processor, for the whole process; 0 leaves them as they are.
    """

    engine = "torch"
    offered = (FP32,)

    @classmethod
    def native(cls) -> tuple[str, ...]:
        """See above."""
        return (FP32,)

    def __init__(self, path: str | os.PathLike, threads: int = 0, precision: str = FP32):
        import torch

        if importlib.util.find_spec("torchvision") is not None:
            importlib.import_module("torchvision")  # registers the operations of detectors
        files = {PREFIX + key: "" for key in KEYS}
        try:
            program = torch.export.load(os.fspath(path), extra_files=files)
        except Exception as error:  # whatever the archive's reader raises
            if "torchvision" in str(error) and "torchvision" not in sys.modules:
                raise ConfigError(f"{path}: this model needs torchvision beside torch: pip install it") from error
            raise DataError(f"{path}: PyTorch cannot load it ({_first_line(error)}); export it anew") from error
        if threads:
            torch.set_num_threads(threads)
        self._path, self._module = path, program.module()
        examples = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
        self._inputs = {str(name): examples[str(name)] for name in program.graph_signature.user_inputs}
        self.entries = {key: str(value) for key, value in files.items() if value}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            DataError: other inputs, or one of another type or shape than the program was made for.
        """
        import json

        import torch

        if set(inputs) != set(self._inputs):
            raise DataError(f"{self._path}: inputs are {sorted(inputs)}, expected {sorted(self._inputs)}")
        tensors = [torch.from_numpy(np.array(inputs[name])) for name in self._inputs]
        for tensor, (name, example) in zip(tensors, self._inputs.items(), strict=True):
            sides = [side if isinstance(side, int) else None for side in example.shape]
            fits = len(sides) == tensor.ndim and all(a in (None, b) for a, b in zip(sides, tensor.shape, strict=True))
            if not fits or tensor.dtype != example.dtype:
                expected = ", ".join("any" if side is None else str(side) for side in sides)
                raise DataError(
                    f"{self._path}: {name} is ({', '.join(map(str, tensor.shape))}) {tensor.dtype}, expected "
                    f"({expected}) {example.dtype}"
                )
        with torch.no_grad():
            found = self._module(*tensors)
        names = json.loads(self.entries[PREFIX + "outputs"])
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}


ENGINES: dict[str, tuple[Any, ...]] = {
    ".onnx": (OnnxRuntimeSession, OpenVinoSession),
    ".xml": (OpenVinoSession,),
    ".pt2": (TorchSession,),
}


def is_installed(engine: type) -> bool:
    """Whether an engine's package is there; it is not imported."""
    return importlib.util.find_spec(engine.engine) is not None  # type: ignore[attr-defined]  # of the classes above


def engines_for(path: str | os.PathLike) -> list[Any]:
    """Engines on this machine that run a file, the format's own first.

    Raises:
        FileNotFoundError: there is no such file. ConfigError: another kind of file, or no engine for it.
    """
    path = Path(path)
    kinds = ENGINES.get(path.suffix.lower())
    if kinds is None:
        raise ConfigError(f"{path}: expected an exported file, {', '.join(ENGINES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    found = [kind for kind in kinds if is_installed(kind)]
    if not found:
        names = " or ".join(kind.engine for kind in kinds)
        raise ConfigError(f"{path}: nothing here runs it: pip install {names}")
    return found


def engine_named(name: str, path: str | os.PathLike) -> Any:
    """The engine of a name for a file; "" for the first of `engines_for`.

    Raises:
        FileNotFoundError, ConfigError: as `engines_for`, or the engine does not run this file, or is not installed.
    """
    found = {kind.engine: kind for kind in engines_for(path)}
    if name and name not in found:
        raise ConfigError(f"{path}: it is run by {' or '.join(found)} here, not by {name}: choose that, or install it")
    return found[name] if name else next(iter(found.values()))


def entries_of_session(session: FileSession, path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a loaded file as text.

    Raises:
        ConfigError: OpenVINO, which drops those of a .onnx file, is alone here, without the package onnx.
    """
    if session.engine != OpenVinoSession.engine or Path(path).suffix.lower() != ".onnx":
        return session.entries
    model = require_package("onnx", "export", "reading the metadata of a .onnx file without onnxruntime")
    return {entry.key: entry.value for entry in model.load(os.fspath(path)).metadata_props}


def _name(source: str | os.PathLike | bytes) -> str:
    """What messages call a file, or its content."""
    return "the graph" if isinstance(source, bytes) else os.fspath(source)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
