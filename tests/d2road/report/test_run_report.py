"""The page of a run: well-formed, self-contained, with all that the folder holds, for whole and broken folders."""

import base64
import json
import os

import cv2
import numpy as np
import pytest

from d2road.cli.report import main
from d2road.report.run_report import run_page
from d2road.report.run_summary import changed_settings, read_run, results_by_data_set
from d2road.utils.errors import DataError
from tests.factories.html_pages import parsed
from tests.factories.run_folders import NASTY, every_figure, write_run


def images_of(page) -> list[np.ndarray]:
    contents = [base64.b64decode(found["src"].partition(",")[2]) for found in page.attributes("img")]
    return [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) for content in contents]


def test_a_finished_run_has_everything_on_its_page(tmp_path, capsys):
    run = write_run(tmp_path)
    assert main([str(run)]) == 0
    assert f"{run / 'report.html'}: " in capsys.readouterr().out
    page = parsed((run / "report.html").read_text())
    assert page.text["h2"] == ["Results", "Evaluation on coco:val.json:images", "Training", "Settings", "Environment"]
    cells = page.text["td"]
    assert "finished: 40 iterations" in cells and cells[cells.index("AP50") + 1] == "70.00"
    assert cells[cells.index("AP-nothing") + 1] == "–"
    assert cells[cells.index("SOLVER.MAX_ITER") + 1 : cells.index("SOLVER.MAX_ITER") + 3] == ["40", "40000"]
    assert NASTY.replace("\x07", "�") in cells, "a text of the config is shown as it is"
    assert any("3.11.7 <&>" in text for text in page.text["pre"])
    assert len(images_of(page)) == len(every_figure()) + 3 + 3  # figures, examples, training curves
    assert all(image is not None and image.shape[1] <= 960 for image in images_of(page))
    assert {"Worst images", "Best images"} <= set(page.text["h3"])


def test_without_images_no_data_is_needed_and_missing_data_is_said(tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "image.png").unlink()
    page = parsed(run_page(read_run(run)))
    notes = [text for text in page.text["p"] if "could not be drawn" in text]
    assert len(notes) == 2 and "image.png" in notes[0]
    page = parsed(run_page(read_run(run), images=0))
    assert not any("drawn" in text for text in page.text["p"]) and "Worst images" not in page.text.get("h3", [])
    assert len(images_of(page)) == len(every_figure()) + 3


def test_a_run_that_is_not_finished_has_its_curves(tmp_path):
    page = parsed(run_page(read_run(write_run(tmp_path, steps=20, max_iter=40))))
    assert "not finished: 20 of 40 iterations are logged" in page.text["td"]
    assert page.text["h2"][:2] == ["Results", "Training"] and len(images_of(page)) == 3
    assert any("No evaluation has finished" in text for text in page.text["p"])


def test_damaged_files_become_notes(tmp_path):
    run = write_run(tmp_path)
    whole = read_run(run)
    for name in ("config.yaml", "results.json", "run.json", "inference/plots/boxes.json"):
        (run / name).write_text("{[\x00")
    with (run / "metrics.json").open("a") as file:
        file.write('{"iteration": 44, "total')
    damaged = read_run(run)
    assert damaged.metrics == whole.metrics and len(damaged.notes) >= 5
    assert f"metrics.json: 1 of {len(whole.metrics) + 1} rows are cut off or damaged, and left out" in " ".join(
        damaged.notes
    )
    page = parsed(run_page(damaged))
    assert page.text["h2"][-1] == "What could not be read" and len(images_of(page)) == 3


def test_results_of_a_later_evaluation_are_named_by_its_own_test_set(tmp_path):
    run = write_run(tmp_path)
    later = run / "config_eval.yaml"
    later.write_text((run / "config.yaml").read_text().replace("coco:val.json:images", "coco:other.json:images"))
    made = (run / "config.yaml").stat().st_mtime_ns
    os.utime(later, ns=(made + 10**9, made + 10**9))
    page = parsed(run_page(read_run(run), images=0))
    assert "Evaluation on coco:other.json:images" in page.text["h2"] and "coco:other.json:images" in page.text["td"]
    assert [key for key, _, _ in read_run(run).of_evaluation] == ["DATASETS.TEST"]
    assert any("later evaluation, with 1 settings other than" in text for text in page.text["p"])
    os.utime(later, ns=(made - 10**9, made - 10**9))  # the training began anew after it
    assert "Evaluation on coco:val.json:images" in parsed(run_page(read_run(run), images=0)).text["h2"]


def test_a_config_with_a_wrong_kind_of_length_is_no_crash(tmp_path):
    run = write_run(tmp_path, steps=20, max_iter=40)
    text = (run / "config.yaml").read_text()
    assert "MAX_ITER: 40" in text
    (run / "config.yaml").write_text(text.replace("MAX_ITER: 40", "MAX_ITER: many"))
    assert read_run(run).state() == "not finished: 20 of many iterations are logged"


def test_a_log_alone_is_enough_and_no_run_is_refused(tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "alone").mkdir()
    (run / "log.txt").rename(tmp_path / "alone" / "log.txt")
    assert parsed(run_page(read_run(tmp_path / "alone"))).text["h2"] == ["Results", "Environment"]
    with pytest.raises(DataError, match=r"did you mean .*run\?"):
        read_run(tmp_path)
    assert main([str(tmp_path / "none")]) == 2 == main([str(tmp_path)])


def test_settings_that_differ_are_found():
    from d2road.config import make_cfg
    from d2road.engine.resume_check import flat_config

    assert changed_settings(flat_config(make_cfg().dump())) == []
    config = flat_config(make_cfg(opts=["TEST.PLOTS", "False"]).dump())
    assert changed_settings({**config, "OLD.KEY": 1}) == [
        ("OLD.KEY", 1, "(no such key by default)"),
        ("TEST.PLOTS", False, True),
    ]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"bbox": {"AP": 1}}, {"val": {"bbox": {"AP": 1}}}),
        ({"a": {"bbox": {"AP": 1}}, "b": {"bbox": {}}}, {"a": {"bbox": {"AP": 1}}, "b": {"bbox": {}}}),
        ({}, {"val": {}}),
        (json.loads('{"odd": 3, "bbox": {"AP": 1}}'), {"val": {"bbox": {"AP": 1}}}),
    ],
)
def test_results_of_one_and_of_several_data_sets(results, expected):
    if "odd" in results:
        del results["odd"]
    assert results_by_data_set(results, ["val"]) == expected
