"""The command line of grounding evaluation: both ways to start it, its JSON, and input that is wrong."""

import json
import re
import subprocess
import sys

import pytest

from d2road.cli.eval_grounding import main
from tests.factories.exit_code import exit_code
from tests.factories.grounding_files import annotation, answer, box, expression, grounding_content, write_files

KEYS = ["acc", "mean_f1", "micro", "n_acc", "t_acc", "recall_by_distance"]
SUBSETS = ["overall", "unique", "multiple", "near", "medium", "far", "easy", "moderate", "hard"]
GROUPS = ["overall", "zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt"]


def _small() -> dict:
    things = [annotation(1, box(0, 20)), annotation(2, box(6, 20))]
    return grounding_content(things, [expression("a", [1]), expression("both", [1, 2])])


GOOD = [answer("a", [box(0, 20)]), answer("both", [box(0, 20), box(6, 20)], [0.9, 0.6])]


def _run(tmp_path, *more: str, raw: dict | None = None, predictions: list | None = None, threshold=0.5) -> dict:
    gt, pred = write_files(tmp_path, raw or _small(), GOOD if predictions is None else predictions, threshold)
    out = tmp_path / "out.json"
    assert main(["--gt", str(gt), "--pred", str(pred), "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("start", [["d2road.cli", "eval-grounding"], ["d2road.cli.eval_grounding"]])
def test_starts_as_verb_and_as_module(tmp_path, repo_dir, start):
    gt, pred = write_files(tmp_path, _small(), GOOD)
    command = [sys.executable, "-W", "ignore", "-m", *start, "--gt", str(gt), "--pred", str(pred)]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=True)
    assert "2 expressions: 1 single, 1 multi, 0 zero; 3 boxes from score 0.5 on, 3 targets" in done.stdout


def test_writes_the_documented_form(tmp_path):
    results = _run(tmp_path)
    assert list(results)[: len(KEYS)] == KEYS
    for mode in ("rotated", "mono3dvg"):
        assert list(results["acc"][mode]) == SUBSETS
        assert list(results["acc"][mode]["overall"]) == ["0.25", "0.5", "miou"]
    assert list(results["mean_f1"]) == ["0.25", "0.5"] and list(results["mean_f1"]["0.5"]) == GROUPS
    assert list(results["micro"]) == ["0.25", "0.5", "0.7"]
    assert list(results["micro"]["0.7"]) == ["precision", "recall", "f1"]
    assert results["mean_f1"]["0.5"]["overall"] == results["micro"]["0.7"]["f1"] == results["t_acc"] == 100
    assert results["n_acc"] is None and results["mean_f1"]["0.5"]["zt_w_d"] is None


def test_thresholds(tmp_path, caplog):
    assert _run(tmp_path, "--score-threshold", "0.7")["micro"]["0.5"]["recall"] == pytest.approx(200 / 3)
    results = _run(tmp_path, "--choose-threshold", threshold=None)
    assert results["mean_f1"]["0.25"]["overall"] == 100 and results["score_threshold"] <= 0.6
    silent = _run(tmp_path, "--choose-threshold", "--t-acc", "100", threshold=None)
    assert silent["t_acc"] == 100 and silent["score_threshold"] == 0.9


def test_missing_expressions_are_reported_and_count_as_nothing(tmp_path, caplog):
    results = _run(tmp_path, predictions=GOOD[:1])
    assert "1 of 2 expressions have no prediction and count as answered by nothing: 'both'" in caplog.text
    assert results["mean_f1"]["0.25"]["overall"] == 50 and results["counts"]["missing"] == 1


def test_subsets_by_file(tmp_path):
    names = ["Unique", "Multiple", "Near", "Medium", "Far", "Easy", "Moderate", "Hard"]
    ids = {name: [7] if name in ("Unique", "Far", "Hard") else [] for name in names}
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    raw = grounding_content([annotation(1, box(0, 20))], [expression("a", [1], legacy={"instanceID": 7, "ann_id": 3})])
    acc = _run(tmp_path, "--subsets", str(tmp_path / "ids.json"), raw=raw, predictions=GOOD[:1])["acc"]["rotated"]
    assert {name for name, row in acc.items() if row["0.5"] == 100} == {"overall", "unique", "far", "hard"}
    assert acc["near"]["0.5"] is None


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([answer("a", [box(float("nan"), 20)])], r"predictions\[0\] \(expression 'a'\): boxes\[0\] is not finite"),
        ([answer("a", [box(0, 20)], [float("inf")])], r"scores\[0\] is inf, expected a finite number"),
        ([answer("b", [])], r"predictions\[0\]: unknown expression_id 'b'"),
        ([GOOD[0], GOOD[0]], r"predictions\[1\] \(expression 'a'\): duplicate"),
        ([answer("a", [box(0, 20)], [])], "as many boxes as scores, in lists; got 1 and 0"),
        ([answer("a", [[1, 2, 3]])], "expected 7 numbers x, y, z, h, w, l, ry"),
        ([answer("a", [box(0, 20, hwl=[1, -1, 2])])], "expected all above 0"),
        ([{"boxes": []}], "expected an object with expression_id, boxes and scores"),
    ],
)
def test_wrong_predictions(tmp_path, predictions, message, capsys):
    gt, pred = write_files(tmp_path, _small(), predictions)
    assert main(["--gt", str(gt), "--pred", str(pred)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {pred}") and re.search(message, said), said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["expressions"].append(expression("a", [1])), r"expressions\[2\] \(id 'a'\): duplicate id"),
        (lambda raw: raw["expressions"][0].update(target_ids=[9]), r"\(id 'a'\): target id 9 is unknown"),
        (
            lambda raw: raw["annotations"][1].update(location=[0, 1, -9]),
            r"annotations\[1\] \(id 2\): the box is behind",
        ),
        (lambda raw: raw["images"][0].pop("P"), r"images\[0\] \(id 0\): no intrinsics"),
    ],
)
def test_wrong_data(tmp_path, change, message, capsys):
    raw = _small()
    change(raw)
    gt, pred = write_files(tmp_path, raw, GOOD)
    assert main(["--gt", str(gt), "--pred", str(pred)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {gt}") and re.search(message, said), said


def test_wrong_files_and_thresholds(tmp_path, capsys):
    gt, pred = write_files(tmp_path, _small(), GOOD, None)
    for arguments, message in (
        ([], "has no score_threshold: give one by --score-threshold"),
        (["--score-threshold", "nan"], "--score-threshold: 'nan' is the number nan, expected a finite number"),
        (["--score-threshold", "0.5", "--subsets", str(gt)], "expected lists of instance ids named Easy, Far"),
        (["--t-acc", "80"], "--t-acc says how --choose-threshold chooses: give both"),
        (["--score-threshold", "0.5", "--subsets", "nowhere.json"], "file of subsets nowhere.json does not exist"),
    ):
        assert exit_code(main, ["--gt", str(gt), "--pred", str(pred), *arguments]) == 2
        assert message in capsys.readouterr().err
    pred.write_text("{")
    assert main(["--gt", str(gt), "--pred", str(pred)]) == 2
    assert "is not JSON" in capsys.readouterr().err
