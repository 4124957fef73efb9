"""A file holds the graph and what it must reproduce, in every format; and says so where it does not."""

import base64
import hashlib
import io
import sys

import numpy as np
import pytest

import d2road
from d2road.cli import export_check
from d2road.export.check_file import check_file, deviation_of
from d2road.export.engines import OnnxRuntimeSession, TorchSession, engines_for
from d2road.export.file_metadata import entries_of, parse_entries
from d2road.export.graph import ExportGraph
from d2road.export.onnx_file import write_onnx
from d2road.export.openvino_file import write_openvino
from d2road.export.torch_file import write_torch
from d2road.utils.errors import ConfigError, DataError
from tests.factories.exported_files import needs_openvino
from tests.factories.exported_graphs import WEIGHTS, grey_graph

onnx = pytest.importorskip("onnx")
FORMATS = [
    ("model.onnx", write_onnx),
    pytest.param("model.xml", write_openvino, marks=needs_openvino),
    ("model.pt2", write_torch),
]


@pytest.mark.parametrize(("name", "write"), FORMATS)
def test_a_file_reproduces_what_numpy_computed_and_tells_what_it_is(name, write, tmp_path):
    graph = grey_graph()
    write(graph, tmp_path / name, "KEY: 1\n")
    names = {"model.xml": ["model.bin", "model.xml"]}.get(name, [name])
    assert sorted(path.name for path in tmp_path.iterdir()) == names  # nothing else stays
    rows = check_file(tmp_path / name)
    assert {row.output for row in rows} == set(graph.output_names) and all(row.passes for row in rows)
    session = engines_for(tmp_path / name)[0](tmp_path / name)
    content = parse_entries(session.entries, name)
    assert (content.version, content.task) == (d2road.__version__, "anomaly")
    assert content.config_sha256 == hashlib.sha256(b"KEY: 1\n").hexdigest()
    assert content.metadata == graph.metadata and dict(content.tolerances) == graph.tolerances
    for found, expected in zip(content.checks, graph.checks, strict=True):
        for part, known in ((found.inputs, expected.inputs), (found.outputs, expected.outputs)):
            assert part.keys() == known.keys()
            assert all(np.array_equal(part[key], known[key]) for key in known)
    images = np.random.default_rng(5).integers(0, 256, (3, 20, 7, 3), dtype=np.uint8)  # of no size seen before
    np.testing.assert_allclose(session.run({"images": images})["grey"], images @ WEIGHTS, atol=1e-3)


@pytest.mark.parametrize(("name", "write"), FORMATS)
def test_what_deviates_is_told_aloud_with_exit_code_1(name, write, tmp_path, capsys):
    write(grey_graph(error=0.01), tmp_path / name, "")  # of the second image's map
    assert export_check.main([str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if " grey " in line][:1]
    assert "0.01" in line and "EXCEEDED" in line and "NOT EQUAL" in said.err and "grey" in said.err
    write(grey_graph(), tmp_path / name, "")
    assert export_check.main([str(tmp_path / name)]) == 0
    assert "EXCEEDED" not in capsys.readouterr().out


def test_other_files_are_refused_with_the_cure(tmp_path, capsys):
    graph = grey_graph()
    write_onnx(graph, tmp_path / "a.onnx", "")
    model = onnx.load(tmp_path / "a.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    for key, value in (kept | {"d2road.check_1": kept["d2road.check_1"][:-40]}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, tmp_path / "cut.onnx")
    (tmp_path / "no.onnx").write_bytes(b"no model")
    (tmp_path / "no.pt2").write_bytes(b"no model")
    for name, said in (
        ("foreign.onnx", "was not written by d2road export"),
        ("cut.onnx", "metadata are damaged"),
        ("no.onnx", "onnxruntime cannot load it"),
        ("no.pt2", "PyTorch cannot load it"),
        ("gone.onnx", "does not exist"),
        ("a.pth", "expected an exported file"),
    ):
        assert export_check.main([str(tmp_path / name)]) == 2, name
        assert said in capsys.readouterr().err
    with pytest.raises(DataError):
        OnnxRuntimeSession(tmp_path / "no.onnx")
    with pytest.raises(DataError):
        TorchSession(tmp_path / "no.pt2")


def test_a_graph_says_what_it_lacks():
    graph = grey_graph()
    parts = {name: getattr(graph, name) for name in ExportGraph.__dataclass_fields__}
    for changed, said in (
        ({"metadata": {"task": "poetry"}}, "task"),
        ({"tolerances": {"grey": (0.0, 0.0)}}, "tolerances are of"),
        ({"input_names": ("images", "camera")}, "other inputs or outputs"),
    ):
        with pytest.raises(ValueError, match=said):
            ExportGraph(**(parts | changed))


@pytest.mark.parametrize(
    ("found", "expected", "passes"),
    [
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], True),
        ([1.0, 2.0], [1.0, np.nan], False),
        ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0, np.inf], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, np.inf], False),
        ([100.5], [100.0], True),  # 0.1 + 0.01 * 100 are allowed
        ([101.2], [100.0], False),
        ([[1.0]], [1.0], False),  # another shape
        ([], [], True),
    ],
)
def test_a_deviation_passes_as_numpy_compares(found, expected, passes):
    row = deviation_of("engine", "output", np.array(found), np.array(expected), (0.1, 0.01))
    assert row.passes is passes
    if np.shape(found) == np.shape(expected):
        assert passes == np.allclose(found, expected, atol=0.1, rtol=0.01, equal_nan=True)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    write_onnx(grey_graph(), tmp_path / "a.onnx", "")
    with pytest.raises(ConfigError, match="pip install onnxruntime or openvino"):
        engines_for(tmp_path / "a.onnx")


def test_a_foreign_file_is_told_where_the_package_onnx_is_missing(monkeypatch, tmp_path, capsys):
    write_onnx(grey_graph(), tmp_path / "a.onnx", "")
    model = onnx.load(tmp_path / "a.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)  # importing it fails
    assert export_check.main([str(tmp_path / "a.onnx")]) == 2
    assert "was not written by d2road export" in capsys.readouterr().err


def test_a_file_whose_check_would_compare_nothing_is_refused():
    entries = entries_of(grey_graph(), "cfg")
    assert parse_entries(entries, "x.onnx").tolerances
    nothing = {"d2road.outputs": "{}"}
    for key in ("d2road.check_0", "d2road.check_1"):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False)
        nothing[key] = base64.b64encode(buffer.getvalue()).decode("ascii")
    with pytest.raises(DataError, match=r"x\.onnx: its metadata are damaged \(no output has a tolerance"):
        parse_entries({**entries, **nothing}, "x.onnx")
