"""Reading model weights from files that we did not write, without running what is in them.

A pickle is a program: loading one with Python's own unpickler runs it. Every file here goes through a reader that
admits tensors, arrays, plain containers, numbers and strings; anything else is refused by name.
"""

import importlib
import io
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import get_cache_dir

import d2road.model_zoo  # noqa: F401  makes d2road:// an address
from d2road.utils.aliases import present_file
from d2road.utils.errors import CheckpointError, D2RoadError

_NUMPY = "numpy.core" if np.__version__.startswith("1.") else "numpy._core"
multiarray, numeric = (importlib.import_module(f"{_NUMPY}.{part}") for part in ("multiarray", "numeric"))

# Where published files put a state dict, tried in this order.
WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict")
DETECTRON2_PREFIX = "detectron2://"


def load_weights_file(path: str | Path) -> dict:
    """Read a weights file into CPU memory, admitting data only.

    Args:
        path: a local file or anything that Detectron2's path manager resolves (``detectron2://...``, ``https://...``,
            ``d2road://...`` for shipped weights).
            ``.pkl``: Detectron2, Detectron1 or Caffe2 pickles of numpy arrays. ``.pyth``: pycls.
            ``.safetensors``. Everything else is taken for a file of ``torch.save``.
    Returns:
        What the file holds. Pickles and pycls files come in the form that Detectron2's checkpointer expects:
        ``{"model": {name: array}, "__author__": ..., "matching_heuristics": bool}``.
    Raises:
        FileNotFoundError: there is no such file, or it cannot be fetched.
        CheckpointError: the file is truncated, of another kind, or holds objects other than data.
    """
    name = present_file(str(path))
    local = _resolve(name)
    if name.endswith(".pkl"):
        return _detectron2_form(_load_pickle(local, name), name)
    if name.endswith(".safetensors"):
        return _load_safetensors(local, name)
    loaded = _load_torch(local, name)
    if name.endswith(".pyth"):
        if "model_state" not in loaded:
            raise CheckpointError(f"{name}: a pycls checkpoint has an entry 'model_state', this has {sorted(loaded)}")
        states = {k: v for k, v in loaded["model_state"].items() if not k.endswith("num_batches_tracked")}
        return {"model": states, "__author__": "pycls", "matching_heuristics": True}
    return loaded


def unwrap_state_dict(loaded: dict) -> dict:
    """The mapping of parameter names to tensors inside what ``load_weights_file`` returned."""
    for key in WRAPPERS:
        if isinstance(loaded.get(key), dict):
            return loaded[key]
    return loaded


def _resolve(name: str) -> Path:
    """A local path for ``name``, fetched by Detectron2's path manager where it is an address."""
    if "://" not in name:
        if not Path(name).is_file():
            raise FileNotFoundError(
                f"no weights file {name}: check MODEL.WEIGHTS (paths are relative to where you run)"
            )
        return Path(name)
    try:
        return Path(PathManager.get_local_path(name))
    except D2RoadError:  # of shipped weights
        raise
    except Exception as error:  # each handler and its transport raise their own kinds
        base = name.rsplit("/", 1)[-1]
        place = ""
        if name.startswith(DETECTRON2_PREFIX):
            place = f" or put it at {Path(get_cache_dir()) / 'detectron2' / name[len(DETECTRON2_PREFIX) :]}"
        raise FileNotFoundError(
            f"cannot fetch {name} ({type(error).__name__}: {error}). Without network: get the file {base} on a "
            f"connected machine, then set MODEL.WEIGHTS to its path{place}"
        ) from error


def _refusal(name: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: refused, because it holds {what}. Weights files may hold tensors, arrays, plain containers, numbers "
        "and strings; other objects run code when loaded. If you trust its origin, load it where it was made and save "
        "its state dict with torch.save or as .safetensors"
    )


def _truncated(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{name}: truncated or not a weights file ({type(error).__name__}: {error}); fetch or save it anew"
    )


# --- files of torch.save ---------------------------------------------------------------------------------------------


def _torch_globals() -> list:
    """What torch's own weights-only reader must also admit: numpy arrays and numbers, by their old and new names."""
    admitted: list = [np.ndarray, np.dtype]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        admitted += [(multiarray._reconstruct, f"{module}._reconstruct"), (multiarray.scalar, f"{module}.scalar")]
    # From numpy 1.25 a dtype is an instance of its own class, which torch checks too.
    kinds = (bool, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    return admitted + list(dict.fromkeys(type(np.dtype(kind)) for kind in kinds))


def _torch_refused(error: pickle.UnpicklingError) -> str:
    """The object that torch's reader stumbled upon; "" if it was something else."""
    # "Unsupported global: GLOBAL x.y was not ...", "Trying to instantiate unsupported class x.y", ...
    found = re.search(r"(?:GLOBAL|class|function) ([\w]+\.[\w.]*\w)", str(error))
    return found.group(1) if found else ""


def _load_torch(local: Path, name: str) -> dict:
    try:
        with torch.serialization.safe_globals(_torch_globals()):
            loaded = torch.load(local, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _torch_refused(error)
        raise (_refusal(name, f"the object {refused}") if refused else _truncated(name, error)) from error
    # A file that is no pickle at all can upset the reader anywhere.
    except (EOFError, RuntimeError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _truncated(name, error) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{name}: expected a dictionary of weights, found {type(loaded).__name__}")
    return loaded


def _load_safetensors(local: Path, name: str) -> dict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"{name}: reading .safetensors needs `pip install safetensors`") from error
    try:
        return load_file(local, device="cpu")
    except SafetensorError as error:
        raise _truncated(name, error) from error


# --- pickles of arrays -----------------------------------------------------------------------------------------------


class _Refused(pickle.UnpicklingError):
    """The file holds something else than data; the message says what."""


def _dtype(*args: Any, **kwargs: Any) -> np.dtype:
    """``numpy.dtype`` without object types: an array of those holds whatever it likes."""
    dtype = np.dtype(*args, **kwargs)
    if dtype.hasobject:
        raise _Refused("an array of Python objects")
    return dtype


def _latin1(text: str, encoding: str = "latin1", *_: Any) -> bytes:
    """``_codecs.encode`` as pickles of protocol 2 use it to store bytes; no other codec."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise _Refused(f"bytes in the codec {encoding!r}")
    return text.encode("latin1")


def _storage(content: bytes) -> Any:
    """``torch.storage._load_from_bytes``, which would run a pickle of its own, by torch's weights-only reader."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Refused(f"the object {_torch_refused(error)} inside a tensor") from error


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    # Tensors: published Swin backbones for Detectron2 are pickles of them.
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}
for _module in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_module}.multiarray", "_reconstruct"] = multiarray._reconstruct
    _ADMITTED[f"{_module}.multiarray", "scalar"] = multiarray.scalar
    _ADMITTED[f"{_module}.numeric", "_frombuffer"] = numeric._frombuffer
for _module in ("builtins", "__builtin__"):  # Python 3, Python 2
    for _kind in (set, frozenset, complex, bytearray):
        _ADMITTED[_module, _kind.__name__] = _kind


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler for numpy arrays, tensors, plain containers, numbers and strings.

    Text of Python 2 is read as latin1, as Detectron2 does: the published Caffe2 files are such.
    """

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"the object {module}.{name}") from None


def _load_pickle(local: Path, name: str) -> Any:
    with open(local, "rb") as file:
        try:
            loaded = ArrayUnpickler(file).load()
        except _Refused as error:
            raise _refusal(name, str(error)) from error
        except pickle.UnpicklingError as error:
            raise _truncated(name, error) from error
        except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError) as error:
            raise _truncated(name, error) from error
    return loaded


def _detectron2_form(loaded: Any, name: str) -> dict:
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{name}: expected a dictionary of arrays, found {type(loaded).__name__}")
    if "model" in loaded and "__author__" in loaded:
        return loaded
    # Detectron1 and Caffe2: detectors keep their arrays under "blobs", ImageNet models at the top.
    arrays = loaded["blobs"] if isinstance(loaded.get("blobs"), dict) else loaded
    arrays = {k: v for k, v in arrays.items() if not k.endswith("_momentum")}
    return {"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}
