"""Metadata of an exported file: what model it is, and two test images with the outputs that the model computed.

Every format holds the same entries of text, in ONNX as metadata_props, in OpenVINO as rt_info, in PyTorch as extra
files. No torch.
"""

import base64
import binascii
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import d2road
from d2road.export.graph import ExportGraph, GraphCheck
from d2road.utils.errors import DataError

PREFIX = "d2road."
KEYS = ("version", "config_sha256", "task", "metadata", "outputs", "check_0", "check_1")


@dataclass(frozen=True)
class FileMetadata:
    """What an exported file says of itself.

    Attributes:
        version: of d2road that wrote it.
        config_sha256: of the config's text.
        metadata: see `ExportGraph.metadata`.
        tolerances: {output: (absolute, relative)}, in the order of the outputs.
        checks: test images with their expected outputs.
    """

    version: str
    config_sha256: str
    metadata: Mapping[str, Any]
    tolerances: Mapping[str, tuple[float, float]]
    checks: tuple[GraphCheck, ...]

    @property
    def task(self) -> str:
        """One of `graph.TASKS`."""
        return self.metadata["task"]


def entries_of(graph: ExportGraph, cfg_text: str) -> dict[str, str]:
    """The entries of a file: one of text for each of KEYS, with PREFIX."""
    outputs = {name: list(graph.tolerances[name]) for name in graph.output_names}
    values = {
        "version": d2road.__version__,
        "config_sha256": hashlib.sha256(cfg_text.encode()).hexdigest(),
        "task": graph.metadata["task"],
        "metadata": json.dumps(dict(graph.metadata)),
        "outputs": json.dumps(outputs),
        **{f"check_{number}": _encode(check, graph) for number, check in enumerate(graph.checks)},
    }
    return {PREFIX + key: value for key, value in values.items()}


def parse_entries(entries: Mapping[str, str], path: str) -> FileMetadata:
    """Metadata of the entries of a file.

    Raises:
        DataError: it has none, or damaged ones.
    """
    missing = [PREFIX + key for key in KEYS if PREFIX + key not in entries]
    if missing:
        raise DataError(
            f"{path}: was not written by d2road export: its metadata lack {', '.join(missing)}; export the model anew"
        )
    try:
        content = FileMetadata(
            version=entries[PREFIX + "version"],
            config_sha256=entries[PREFIX + "config_sha256"],
            metadata=json.loads(entries[PREFIX + "metadata"]),
            tolerances={
                name: (float(absolute), float(relative))
                for name, (absolute, relative) in json.loads(entries[PREFIX + "outputs"]).items()
            },
            checks=tuple(_decode(entries[f"{PREFIX}check_{number}"]) for number in range(2)),
        )
        if not content.tolerances:
            raise ValueError("no output has a tolerance, so nothing would be compared")
        if any(check.outputs.keys() != content.tolerances.keys() for check in content.checks):
            raise ValueError("test images have other outputs than the graph")
        if content.metadata["task"] != entries[PREFIX + "task"]:
            raise ValueError("two tasks")
        return content
    except (ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: its metadata are damaged ({error}); export the model anew") from error


def _encode(check: GraphCheck, graph: ExportGraph) -> str:
    buffer = io.BytesIO()
    arrays = {f"inputs.{name}": np.asarray(check.inputs[name]) for name in graph.input_names}
    arrays |= {f"outputs.{name}": np.asarray(check.outputs[name]) for name in graph.output_names}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _decode(text: str) -> GraphCheck:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"test image: {error}") from error
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        parts: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
        for key in arrays.files:
            kind, _, name = key.partition(".")
            parts[kind][name] = arrays[key]
    return GraphCheck(**parts)
