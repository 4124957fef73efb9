"""The file of plot data: what is written is read again, and what fails costs nothing but a line of the log."""

import json
import logging

import numpy as np
import pytest

from d2road.evaluation.plot_data import Heat, as_json, plot_files, read_plot_data, write_plot_data
from d2road.utils.errors import DataError
from tests.factories.run_folders import write_run


def test_what_is_written_is_read_again(tmp_path):
    (path,) = plot_files(write_run(tmp_path) / "inference")
    data = read_plot_data(path)
    assert json.dumps(as_json("boxes", data)) == json.dumps(json.loads(path.read_text()))
    assert [example.group for example in data.examples] == ["worst", "best", "best"]


def test_a_map_keeps_its_highest_values():
    values = np.random.default_rng(0).random((300, 190)).astype(np.float32)
    values[123, 45] = 7
    heat = Heat.of(values)
    again = heat.values()
    assert again.shape == (100, 64) and again.max() == pytest.approx(7)
    blocks = np.pad(values, ((0, 0), (0, 2)), mode="edge").reshape(100, 3, 64, 3).max(axis=(1, 3))
    np.testing.assert_allclose(again, blocks, atol=(7 - blocks.min()) / 255)
    np.testing.assert_allclose(Heat.of(np.full((3, 4), 2.5)).values(), 2.5)


def test_an_error_is_logged_and_not_raised(tmp_path, caplog):
    def fail():
        raise RuntimeError("no such curve")

    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "boxes.json").write_text("of an earlier evaluation")
    with caplog.at_level(logging.WARNING, "d2road"):
        assert write_plot_data(tmp_path, "boxes", fail) is None
    assert "no such curve" in caplog.text and not plot_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "holds no plot data"), ('{"figures": {}, "version": 9}', "version 9"), ("{", "not JSON"),
     ('{"version": 1, "figures": {"a": {"kind": "pie"}}}', "known kind"),
     ('{"version": 1, "figures": {}, "examples": [{"colour": 1}]}', "colour")],
)  # fmt: skip
def test_other_content_is_refused(tmp_path, content, said):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=said):
        read_plot_data(tmp_path / "a.json")
