"""Unpickling as data: tensors, arrays and plain containers are built, every other object becomes a stand-in.

A pickle is a program: loading one with Python's own unpickler runs it. Here nothing is ever imported by a name that a
file holds. Classes of settings beside weights (argparse.Namespace, enums, paths, config nodes, transforms) become
stand-ins that keep their name, arguments and state, and so do functions that would make them (of data frames, random
states). Files that ask for what acts on the machine are refused by name.
"""

import importlib
import io
import pickle
import re
from collections import OrderedDict
from typing import IO, Any

import numpy as np
import torch

_NUMPY = "numpy.core" if np.__version__.startswith("1.") else "numpy._core"
multiarray, numeric = (importlib.import_module(f"{_NUMPY}.{part}") for part in ("multiarray", "numeric"))

# What acts on the machine or the interpreter. It would not run either: settings have no use for it, so a file that asks
# for it is no file of settings.
ACTING_MODULES = {
    "os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "importlib", "runpy", "pty", "code", "codeop", "io",
    "_io", "ctypes", "threading", "webbrowser", "marshal", "tempfile", "urllib", "http", "pip", "pdb", "timeit",
}  # fmt: skip
ACTING_BUILTINS = {"eval", "exec", "compile", "open", "input", "breakpoint", "__import__", "execfile", "apply", "file"}


class RefusedError(pickle.UnpicklingError):
    """The file holds something else than data; the message says what."""


class StandIn:
    """What stands in a loaded file for an object that was not built.

    Attributes:
        origin: the name of its class, such as "argparse.Namespace".
        arguments: what its constructor would have got.
        state: its attributes, or what else it would have been given.
        items: of containers.
    """

    origin = ""
    arguments: tuple
    state: Any
    items: list

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        made = super().__new__(cls)
        made.__dict__.update(arguments=args, state={}, items=[])
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__["items"].append((key, value))

    def append(self, value: Any) -> None:
        """As a list does."""
        self.__dict__["items"].append(value)

    def extend(self, values: Any) -> None:
        """As a list does."""
        self.__dict__["items"].extend(values)

    add = append

    def __call__(self, *args: Any, **kwargs: Any) -> "StandIn":
        return StandIn(*args)

    def __repr__(self) -> str:
        return f"<{self.origin}, not built>"


def stand_in(module: str, name: str) -> type[StandIn]:
    """A class of stand-ins for `module.name`, which is not imported.

    Raises:
        RefusedError: something that acts on the machine.
    """
    acts = name in ACTING_BUILTINS and module in ("builtins", "__builtin__")
    if acts or module.partition(".")[0] in ACTING_MODULES:
        raise RefusedError(f"the object {module}.{name}")
    return type(name.rpartition(".")[2], (StandIn,), {"origin": f"{module}.{name}"})


def find_stand_in(value: Any, depth: int = 3) -> str:
    """The name of an object that was not built, in a value or in its containers; "" if there is none."""
    if isinstance(value, StandIn) or (isinstance(value, type) and issubclass(value, StandIn)):
        return value.origin or "of an unknown class"
    if depth and isinstance(value, dict):
        value = list(value.values())
    if depth and isinstance(value, (list, tuple)):
        return next(filter(None, (find_stand_in(inner, depth - 1) for inner in value)), "")
    return ""


def torch_globals() -> list:
    """What torch's own weights-only reader must also admit: numpy arrays and numbers, by their old and new names."""
    admitted: list = [np.ndarray, np.dtype]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        admitted += [(multiarray._reconstruct, f"{module}._reconstruct"), (multiarray.scalar, f"{module}.scalar")]
    # From numpy 1.25 a dtype is an instance of its own class, which torch checks too.
    kinds = (bool, "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    return admitted + list(dict.fromkeys(type(np.dtype(kind)) for kind in kinds))


def _dtype(*args: Any, **kwargs: Any) -> np.dtype:
    """``numpy.dtype`` without object types: an array of those holds whatever it likes."""
    dtype = np.dtype(*args, **kwargs)
    if dtype.hasobject:
        raise RefusedError("an array of Python objects")
    return dtype


def _latin1(text: str, encoding: str = "latin1", *_: Any) -> bytes:
    """``_codecs.encode`` as pickles of protocol 2 use it to store bytes; no other codec."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise RefusedError(f"bytes in the codec {encoding!r}")
    return text.encode("latin1")


def _storage(content: bytes) -> Any:
    """``torch.storage._load_from_bytes``, which would run a pickle of its own, by torch's weights-only reader."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # "Unsupported global: GLOBAL x.y was not ...", "Trying to instantiate unsupported class x.y", ...
        found = re.search(r"(?:GLOBAL|class|function) ([\w]+\.[\w.]*\w)", str(error))
        raise RefusedError(f"the object {found[1] if found else 'of another kind'} inside a tensor") from error


def _default_dict(_factory: Any = None, *items: Any) -> OrderedDict:
    """``collections.defaultdict`` without what makes its defaults."""
    return OrderedDict(*items)


def _from_type(rebuild: Any, _kind: Any, arguments: tuple, _state: Any) -> Any:
    """``torch._tensor._rebuild_from_type_v2``, tensors with attributes or of a subclass, as plain tensors."""
    if rebuild not in _REBUILD:
        raise RefusedError(f"a tensor that {getattr(rebuild, 'origin', rebuild)} makes")
    return rebuild(*arguments)


_REBUILD = [
    torch._utils._rebuild_tensor,
    torch._utils._rebuild_tensor_v2,
    torch._utils._rebuild_parameter,
    torch._utils._rebuild_parameter_with_state,
]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _default_dict,
    # Tensors: published Swin backbones for Detectron2 are pickles of them.
    **{("torch._utils", rebuild.__name__): rebuild for rebuild in _REBUILD},
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}
for _name, _value in vars(torch).items():
    if isinstance(_value, torch.dtype):
        _ADMITTED["torch", _name] = _value
for _module in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_module}.multiarray", "_reconstruct"] = multiarray._reconstruct
    _ADMITTED[f"{_module}.multiarray", "scalar"] = multiarray.scalar
    _ADMITTED[f"{_module}.numeric", "_frombuffer"] = numeric._frombuffer
for _module in ("builtins", "__builtin__"):  # Python 3, Python 2
    for _kind in (set, frozenset, complex, bytearray):
        _ADMITTED[_module, _kind.__name__] = _kind


class DataUnpickler(pickle._Unpickler):
    """Unpickler for numpy arrays, tensors, plain containers, numbers and strings; other classes become stand-ins.

    The one in Python: that in C takes a damaged number of a memo for the size of a table, and all memory with it.
    Text of Python 2 is read as latin1, as Detectron2 does: the published Caffe2 files are such.
    """

    def __init__(self, file: IO[bytes], *, encoding: str = "latin1", **_: Any):
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        found = _ADMITTED.get((module, name))
        return stand_in(module, name) if found is None else found


def load(file: IO[bytes], **options: Any) -> Any:
    """What `pickle.load` would return, as data."""
    return DataUnpickler(file, **options).load()
