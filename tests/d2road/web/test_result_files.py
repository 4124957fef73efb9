"""Files for downloading: tables that spreadsheets read as numbers and text, and folders that go after a while."""

import csv
import os
import time
from pathlib import Path

from d2road.web.result_files import ResultFolders, result_stem, write_table


def test_lists_of_numbers_become_columns_and_text_no_formula(tmp_path):
    rows = [
        {"file_name": "=1+1.png", "bbox": [1.5, 2, 3, 4], "score": -0.5, "words": [{"text": "a"}]},
        {"file_name": "b.png", "bbox": [5, 6, 7, 8], "score": 0.25},
    ]
    write_table(tmp_path / "a.csv", rows)
    with open(tmp_path / "a.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {
        "file_name": "'=1+1.png",
        "left": "1.5",
        "top": "2",
        "width": "3",
        "height": "4",
        "score": "-0.5",
    }
    assert read[1]["file_name"] == "b.png" and read[1]["left"] == "5"


def test_a_table_without_rows_has_its_header(tmp_path):
    write_table(tmp_path / "a.csv", [], ("file", "score"))
    assert (tmp_path / "a.csv").read_text() == "file,score\n"


def test_old_results_go_with_the_next_request(tmp_path):
    folders = ResultFolders(tmp_path / "results", keep_s=60)
    old, recent = folders.new(), folders.new()
    os.utime(old, (time.time() - 61,) * 2)
    (folders.root / "upload").mkdir()
    os.utime(folders.root / "upload", (0, 0))
    third = folders.new()
    assert len({old, recent, third}) == 3
    assert not old.exists() and recent.is_dir() and third.is_dir() and (folders.root / "upload").is_dir()


def test_names_of_results_stay_below_their_folder():
    assert result_stem(Path("a b/..\\x y:z.tar.png")) == ".._x_y_z.tar"
    assert len(result_stem(Path("n" * 300 + ".png"))) == 60
