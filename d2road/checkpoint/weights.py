"""Reading model weights from files that we did not write, without running what is in them.

What kind of file it is its content tells, not its name; checksums that it has are compared. Every pickle goes through a
reader that builds tensors, arrays, plain containers, numbers and strings, see `plain_pickle`; a whole model in place of
its weights is refused by name.
"""

import logging
import pickle
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import get_cache_dir

import d2road.model_zoo.path_handler  # noqa: F401  makes zoo:NAME an address
from d2road.checkpoint import file_forms, plain_pickle
from d2road.checkpoint.base_weights import base_address, base_part
from d2road.checkpoint.packed_weights import unpack_state
from d2road.utils.addresses import is_address
from d2road.utils.aliases import present_file
from d2road.utils.errors import CheckpointError, D2RoadError

logger = logging.getLogger(__name__)

# Where published files put a state dict, tried in this order.
WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict", "net", "network", "weights")
DETECTRON2_PREFIX = "detectron2://"
LONGEST_REASON = 200  # letters of what a reader says of a damaged file
RANDOM = "random"  # in place of a path: the model as it was initialised


class WholeModelError(CheckpointError):
    """The file holds a pickled model, or other objects that are no data, where its weights should be."""


def load_weights_file(path: str | Path) -> dict:
    """Read a weights file into CPU memory, building data only.

    Args:
        path: a local file or anything that Detectron2's path manager resolves (``detectron2://...``, ``https://...``,
            ``zoo:NAME`` of the model zoo): files of ``torch.save``, ``.safetensors``, and pickles of numpy
            arrays (Detectron2, Detectron1, Caffe2); ``.pyth`` is taken for a checkpoint of pycls.
    Returns:
        What the file holds; objects of other classes beside the weights as `plain_pickle.StandIn`. Pickles of arrays
        and pycls files come in the form that Detectron2's checkpointer expects: ``{"model": {name: array},
        "__author__": ..., "matching_heuristics": bool}``.
    Raises:
        FileNotFoundError: there is no such file, or it cannot be fetched.
        WholeModelError: it holds a pickled model, or calls functions.
        CheckpointError: it is damaged or of another kind.
    """
    name = present_file(str(path))
    local = local_path(name)
    form = file_forms.form_of(local, name)
    if form == file_forms.SAFETENSORS:
        return _load_safetensors(local, name)
    if form == file_forms.PICKLE:
        return _detectron2_form(_load_pickle(local, name), name)
    loaded = _load_torch(local, name, form)
    if name.endswith(".pkl"):
        return _detectron2_form(loaded, name)
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
    if not any(map(is_weight, loaded.values())):  # under a name of its own
        inner = [value for value in loaded.values() if isinstance(value, dict) and any(map(is_weight, value.values()))]
        if len(inner) == 1:
            return inner[0]
    return loaded


def is_weight(value: object) -> bool:
    """Whether a value of a state dict is one that a model can take."""
    return isinstance(value, (torch.Tensor, np.ndarray, np.number))


def weights_of(loaded: dict, source: str) -> dict[str, Any]:
    """The tensors and arrays of `unwrap_state_dict`, by name; entries of other kinds are left out with a warning.

    Raises:
        WholeModelError: there are objects of classes among them.
        CheckpointError: it holds none, or names that are no text.
    """
    state = unwrap_state_dict(loaded)
    weights = {name: value for name, value in state.items() if is_weight(value)}
    odd = [name for name in weights if not isinstance(name, str)]
    if odd or not weights:
        _require_data(list(state.values()), source)
        found = f"names that are no text, such as {odd[0]!r}" if odd else f"no tensor, but {_some(map(str, state))}"
        raise CheckpointError(f"{source}: expected weights by name, found {found}")
    others = [str(name) for name in state if name not in weights]
    if others:
        logger.warning("%s: %d entries are no tensors and left out: %s", source, len(others), _some(others))
    return weights


def local_path(name: str) -> Path:
    """A local path for a weights file, fetched by Detectron2's path manager where it is an address.

    Raises:
        FileNotFoundError, CheckpointError: it is not there, or cannot be fetched.
    """
    if not is_address(name):
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


def _refusal(name: str, what: str) -> WholeModelError:
    return WholeModelError(
        f"{name}: refused, because it holds {what}. Weights files may hold tensors, arrays, plain containers, numbers "
        "and strings; other objects run code when loaded. If you trust its origin, load it where it was made and save "
        "its state dict with torch.save or as .safetensors"
    )


def _truncated(name: str, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    return CheckpointError(
        f"{name}: damaged, truncated or not a weights file ({type(error).__name__}: {reason}); fetch or save it anew"
    )


def _require_data(values: Any, name: str) -> None:
    found = plain_pickle.find_stand_in(values)
    if found:
        raise _refusal(name, f"the object {found}")


def _some(names: Any, limit: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _load_torch(local: Path, name: str, form: str) -> dict:
    if form == file_forms.ZIP:
        file_forms.require_undamaged(local, name)
    try:
        loaded = _read_torch(local)
    except plain_pickle.RefusedError as error:
        raise _refusal(name, str(error)) from error
    except Exception as error:  # a file that is no pickle at all can upset the reader anywhere
        raise _truncated(name, error) from error
    return _require_mapping(loaded, name, "weights")


def _read_torch(local: Path) -> Any:
    try:
        with torch.serialization.safe_globals(plain_pickle.torch_globals()):
            return torch.load(local, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass  # settings of other classes beside the weights; what is damaged fails again
    reader = types.SimpleNamespace(
        Unpickler=plain_pickle.DataUnpickler, load=plain_pickle.load, __name__=plain_pickle.__name__
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch looks for the source of the classes that are not built
        return torch.load(local, map_location="cpu", weights_only=False, pickle_module=reader)


def _require_mapping(loaded: Any, name: str, of: str) -> dict:
    """Refuse what holds no state dict: another type, or a model in the place of one."""
    _require_data(loaded if not isinstance(loaded, dict) else None, name)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{name}: expected a dictionary of {of}, found {type(loaded).__name__}")
    state = unwrap_state_dict(loaded)
    _require_data([loaded.get(key) for key in WRAPPERS] if state is loaded else list(state.values()), name)
    return loaded


def _load_safetensors(local: Path, name: str) -> dict:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{name}: reading .safetensors needs `pip install safetensors`") from error
    try:
        # Its reader compares the header's offsets and shapes with the size of the file; there are no checksums.
        with safe_open(local, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, ValueError, KeyError, RuntimeError, OSError) as error:
        raise _truncated(name, error) from error
    state = unpack_state(tensors, metadata, name)
    base = base_address(metadata, name)
    return {**base_part(load_weights_file(base), metadata), **state} if base else state


def _load_pickle(local: Path, name: str) -> Any:
    with open(local, "rb") as file:
        try:
            return plain_pickle.load(file)
        except plain_pickle.RefusedError as error:
            raise _refusal(name, str(error)) from error
        except Exception as error:  # whatever a damaged file leads to
            raise _truncated(name, error) from error


def _detectron2_form(loaded: Any, name: str) -> dict:
    loaded = _require_mapping(loaded, name, "arrays")
    if "model" in loaded and "__author__" in loaded:
        return loaded
    # Detectron1 and Caffe2: detectors keep their arrays under "blobs", ImageNet models at the top.
    arrays = loaded["blobs"] if isinstance(loaded.get("blobs"), dict) else loaded
    arrays = {k: v for k, v in arrays.items() if not (isinstance(k, str) and k.endswith("_momentum"))}
    return {"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}
