"""Foreign weights files are read as data; whatever else they hold is refused and never run."""

import collections
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
import torch

from d2road.checkpoint import weights
from d2road.checkpoint.weights import load_weights_file, unwrap_state_dict

ARRAYS = {
    "stem.conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "stem.conv1.norm.num": np.array(7, dtype=np.int64),
    "half": np.float16([1.5, -2]),
    "flags": np.array([True, False]),
    "fortran": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
}


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def dump(path, obj, protocol=2) -> str:
    path.write_bytes(pickle.dumps(obj, protocol=protocol))
    return str(path)


def assert_same_arrays(loaded: dict, expected: dict):
    assert loaded.keys() == expected.keys()
    for key, value in expected.items():
        assert isinstance(loaded[key], np.ndarray)
        # Some pickle protocols bring numbers into the order of the machine.
        assert loaded[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[key], value)


# --- pickles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_detectron2_pickle_of_arrays(tmp_path, protocol):
    content = {"model": collections.OrderedDict(ARRAYS), "__author__": "torchvision", "matching_heuristics": True}
    loaded = load_weights_file(dump(tmp_path / "R-50.pkl", content, protocol))
    assert loaded["__author__"] == "torchvision" and loaded["matching_heuristics"] is True
    assert_same_arrays(loaded["model"], ARRAYS)


@pytest.mark.parametrize("old", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_pickles_of_numpy_1_and_2(tmp_path, old):
    content = pickle.dumps({"model": ARRAYS, "__author__": "x", "n": np.float64(2.5)}, protocol=2)
    content = content.replace(b"numpy._core.multiarray", old)
    (tmp_path / "w.pkl").write_bytes(content)
    assert old in content
    loaded = load_weights_file(tmp_path / "w.pkl")
    assert_same_arrays(loaded["model"], ARRAYS)
    assert loaded["n"] == 2.5


def test_pickle_of_python_2_with_raw_bytes(tmp_path):
    # As Python 2 wrote it: the array's bytes are a plain string, globals are `numpy.core.multiarray` and `numpy`.
    raw = np.float32([1, -2, 0.1])
    content = (
        b"\x80\x02}q\x00(U\x05blobs}q\x01(U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x0c" + raw.tobytes() + b"tbU\x0aw_momentumK\x01uU\x03cfgU\x03\xe9\xe8zu."
    )
    pickletools.dis(content, out=io.StringIO())
    (tmp_path / "model_final.pkl").write_bytes(content)
    loaded = load_weights_file(tmp_path / "model_final.pkl")
    assert loaded["__author__"] == "Caffe2" and loaded["matching_heuristics"] is True
    assert_same_arrays(loaded["model"], {"w": raw})  # the momentum is left out


def test_imagenet_pickle_of_caffe2_has_its_arrays_at_the_top(tmp_path):
    loaded = load_weights_file(dump(tmp_path / "R-50.pkl", {**ARRAYS, "half_momentum": np.zeros(2)}))
    assert_same_arrays(loaded["model"], ARRAYS)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    mark = tmp_path / "ran"
    path = dump(tmp_path / "w.pkl", {"model": ARRAYS, "__author__": Evil(f"touch {mark}")}, protocol)
    with pytest.raises(ValueError, match=r"w\.pkl: refused, because it holds the object (posix|nt)\.system"):
        load_weights_file(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.array([{1}, None], dtype=object), "an array of Python objects"),
        (collections.Counter("ab"), r"the object collections\.Counter"),
        (io.BytesIO, r"the object _io\.BytesIO"),
        (eval, r"the object (builtins|__builtin__)\.eval"),
        (torch.nn.Linear(1, 1), r"the object torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_other_objects_are_refused_by_name(tmp_path, value, named):
    with pytest.raises(ValueError, match=named):
        load_weights_file(dump(tmp_path / "w.pkl", {"model": {"w": value}, "__author__": "x"}))


def test_tensors_in_a_pickle(tmp_path):
    # Published Swin backbones for Detectron2 are such files.
    base = torch.arange(12.0)
    tensors = {"a": base.view(3, 4).t(), "b": torch.nn.Parameter(torch.ones(2)), "c": torch.tensor(3)}
    loaded = load_weights_file(dump(tmp_path / "w.pkl", {"model": tensors, "__author__": "third_party"}))
    for key, value in tensors.items():
        assert torch.equal(loaded["model"][key], value)


def test_a_command_inside_a_pickled_tensor_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    inner = io.BytesIO()
    torch.save(Evil(f"touch {mark}"), inner, _use_new_zipfile_serialization=False)

    class Storage:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    with pytest.raises(ValueError, match=r"the object (posix|nt)\.system inside a tensor"):
        load_weights_file(dump(tmp_path / "w.pkl", {"model": Storage(), "__author__": "x"}))
    assert not mark.exists()


def test_other_codecs_are_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(ValueError, match="codec 'rot13'"):
        load_weights_file(tmp_path / "w.pkl")


def test_truncated_pickle_and_pickle_of_a_list(tmp_path):
    whole = pickle.dumps({"model": ARRAYS, "__author__": "x"})
    for end in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "w.pkl").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="truncated or not a weights file"):
            load_weights_file(tmp_path / "w.pkl")
    with pytest.raises(ValueError, match="expected a dictionary of arrays, found list"):
        load_weights_file(dump(tmp_path / "l.pkl", [1, 2]))


# --- torch files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_file(tmp_path, zipped):
    content = {"model": {"w": torch.rand(3)}, "iteration": 5, "best": np.float64(0.5), "array": np.arange(3)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_weights_file(tmp_path / "w.pth")
    assert torch.equal(loaded["model"]["w"], content["model"]["w"])
    assert loaded["iteration"] == 5 and loaded["best"] == 0.5 and loaded["array"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_command_in_a_torch_file_is_refused_and_not_run(tmp_path, zipped):
    mark = tmp_path / "ran"
    content = {"model": {"w": torch.rand(3)}, "x": Evil(f"touch {mark}")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"w\.pth: refused, because it holds the object (posix|nt)\.system"):
        load_weights_file(tmp_path / "w.pth")
    assert not mark.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"refused, because it holds the object torch\.nn\.modules\.linear\.Linear"):
        load_weights_file(tmp_path / "w.pth")


def test_truncated_torch_file(tmp_path):
    torch.save({"w": torch.rand(1000)}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for end in (0, 10, len(whole) // 2):
        (tmp_path / "w.pth").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"w\.pth: damaged, truncated or not a weights file"):
            load_weights_file(tmp_path / "w.pth")


def test_text_and_bare_tensors_are_no_weights(tmp_path):
    (tmp_path / "w.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="truncated or not a weights file"):
        load_weights_file(tmp_path / "w.pth")
    torch.save(torch.ones(2), tmp_path / "t.pth")
    with pytest.raises(ValueError, match="expected a dictionary of weights, found Tensor"):
        load_weights_file(tmp_path / "t.pth")


def test_pycls_file(tmp_path):
    torch.save({"model_state": {"w": torch.ones(1), "bn.num_batches_tracked": torch.tensor(3)}}, tmp_path / "w.pyth")
    loaded = load_weights_file(tmp_path / "w.pyth")
    assert list(loaded["model"]) == ["w"] and loaded["matching_heuristics"] is True
    torch.save({"other": 1}, tmp_path / "w.pyth")
    with pytest.raises(ValueError, match="'model_state', this has \\['other'\\]"):
        load_weights_file(tmp_path / "w.pyth")


def test_safetensors(tmp_path):
    lib = pytest.importorskip("safetensors.torch")
    lib.save_file({"w": torch.arange(4.0)}, tmp_path / "w.safetensors")
    assert load_weights_file(tmp_path / "w.safetensors")["w"].tolist() == [0, 1, 2, 3]
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ValueError, match="truncated or not a weights file"):
        load_weights_file(tmp_path / "w.safetensors")


# --- where files come from -------------------------------------------------------------------------------------------


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no weights file nowhere/w\.pth"):
        load_weights_file("nowhere/w.pth")


def test_detectron2_address_is_resolved_by_its_path_manager(tmp_path, monkeypatch):
    path = dump(tmp_path / "cached.pkl", {"model": ARRAYS, "__author__": "torchvision"})
    asked = []
    monkeypatch.setattr(weights.PathManager, "get_local_path", lambda name: asked.append(name) or path)
    address = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
    assert_same_arrays(load_weights_file(address)["model"], ARRAYS)
    assert asked == [address]


def test_offline_message_says_where_the_file_goes(tmp_path, monkeypatch):
    def offline(name):
        raise OSError("name resolution failed")

    monkeypatch.setattr(weights.PathManager, "get_local_path", offline)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"get the file R-50\.pkl on a connected machine.*MODEL\.WEIGHTS"
    ) as info:
        load_weights_file("detectron2://ImageNetPretrained/torchvision/R-50.pkl")
    assert str(tmp_path / "detectron2/ImageNetPretrained/torchvision/R-50.pkl") in str(info.value)


def test_the_place_it_names_is_where_detectron2_looks(tmp_path, monkeypatch):
    # A fresh download handler, so that it reads the cache folder from the environment now.
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    place = tmp_path / "detectron2/ImageNetPretrained/torchvision/R-50.pkl"
    place.parent.mkdir(parents=True)
    dump(place, {"model": ARRAYS, "__author__": "torchvision"})
    for handler in weights.PathManager._path_handlers.values():
        if hasattr(handler, "cache_map"):
            monkeypatch.setattr(handler, "cache_map", {})
    assert_same_arrays(load_weights_file("detectron2://ImageNetPretrained/torchvision/R-50.pkl")["model"], ARRAYS)


def test_unwrap():
    assert unwrap_state_dict({"state_dict": {"a": 1}, "epoch": 3}) == {"a": 1}
    assert unwrap_state_dict({"model": {"b": 1}}) == {"b": 1}
    assert unwrap_state_dict({"conv.weight": 1}) == {"conv.weight": 1}
