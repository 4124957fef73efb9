"""Tables of predictions in every format, read back by json, csv and pandas."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from d2road.engine import prediction_tables
from d2road.engine.annotators import DetectionAnnotator
from d2road.engine.prediction_tables import arrow_schema, require_format, write_table
from d2road.utils.errors import ConfigError
from efficientad.inference.heatmap_annotator import HeatMapAnnotator
from mono3dvg.grounding_annotator import GroundingAnnotator

BOX = {"image_id": 0, "file_name": "ä.png", "category_id": 3, "bbox": [1.0, 2.5, 3.0, 4.0], "score": 0.75}
POSE = {"location": [0.0, 1.0, 12.0], "dimensions_hwl": [1.5, 1.8, 4.0], "rotation_y": 0.7}
BOXES = [BOX, {**BOX, "image_id": 1, "frame": 4, "category_name": "bus", **POSE}]
ANSWERS = [
    {
        "file_name": "a.png", "text": "the bus", "boxes": [[0.0, 1, 12, 1.5, 1.8, 4, 0.7]], "scores": [0.5],
        "boxes_xyxy": [[10.0, 30, 50, 55]], "category_names": ["bus"],
        "words": [{"text": "the", "span": [0, 3], "relevance": 0.8}],
    },
    {
        "file_name": "a.png", "text": "no", "boxes": [], "scores": [], "boxes_xyxy": [], "category_names": [],
        "words": [],
    },
]  # fmt: skip
SCORES = [{"file": "a.png", "score": 1.5, "threshold": 1.0, "verdict": "anomalous"}, {"file": "b.png", "score": 0.5}]
TABLES = [(DetectionAnnotator, BOXES), (GroundingAnnotator, ANSWERS), (HeatMapAnnotator, SCORES)]


def plain(value):
    """A value that pandas read, as JSON has it; None for what is missing."""
    if isinstance(value, np.ndarray):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return None if value is None or value is pd.NA or value != value else value


@pytest.mark.parametrize("kind, rows", TABLES, ids=["boxes", "answers", "scores"])
def test_pandas_reads_from_parquet_what_json_holds(kind, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_tables, "PARQUET_ROWS", 1)  # several row groups
    for suffix in ("json", "jsonl", "parquet"):
        write_table(tmp_path / f"t.{suffix}", rows, kind.columns)
    assert json.loads((tmp_path / "t.json").read_text()) == rows
    assert (tmp_path / "t.json").read_text() == json.dumps(rows, indent=2) + "\n"
    assert [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()] == rows
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert list(table.columns) == list(kind.columns)
    read = [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]
    assert [{name: value for name, value in row.items() if value is not None} for row in read] == rows


def test_a_table_without_rows_has_its_columns_all_the_same(tmp_path):
    for suffix in ("json", "jsonl", "parquet"):
        write_table(tmp_path / f"t.{suffix}", [], DetectionAnnotator.columns)
    assert json.loads((tmp_path / "t.json").read_text()) == [] and (tmp_path / "t.jsonl").read_text() == ""
    assert list(pd.read_parquet(tmp_path / "t.parquet").columns) == list(DetectionAnnotator.columns)


def test_csv_leaves_out_optional_columns_that_no_row_has(tmp_path):
    write_table(tmp_path / "a.csv", SCORES, HeatMapAnnotator.columns)
    write_table(tmp_path / "b.csv", [{**SCORES[0], "frame": 0, "guarantee": "x, y"}], HeatMapAnnotator.columns)
    texts = [(tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("a.csv", "b.csv")]
    first, second = (list(csv.DictReader(lines)) for lines in texts)
    assert list(first[0]) == ["file", "score", "threshold", "verdict", "teacher"] and first[1]["threshold"] == ""
    assert second[0]["frame"] == "0" and second[0]["guarantee"] == "x, y"


def test_a_table_that_breaks_off_leaves_the_earlier_one(tmp_path):
    def rows():
        yield BOX
        raise KeyboardInterrupt

    for suffix in ("json", "jsonl", "parquet"):
        path = tmp_path / f"t.{suffix}"
        path.write_text("earlier")
        with pytest.raises(KeyboardInterrupt):
            write_table(path, rows(), DetectionAnnotator.columns)
        assert path.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 3


def test_without_pyarrow_parquet_is_refused_before_anything_is_done(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"--format parquet needs pyarrow .* pip install 'd2road\[parquet\]'"):
        require_format("parquet")
    require_format("jsonl")


def test_the_documented_schema_is_that_of_the_files(repo_dir):
    page = (repo_dir / "docs" / "predicting.md").read_text()
    for kind, _ in TABLES:
        for column in arrow_schema(kind.columns):
            text = str(column.type).replace("element: ", "").replace("item: ", "")
            assert f"| `{column.name}` | `{text}` |" in page, f"{kind.__name__}: {column.name} {text}"
