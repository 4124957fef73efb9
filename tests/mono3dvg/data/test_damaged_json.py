"""Grounding files of another form, whatever is wrong with them, end with an error that a user can act on."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from d2road.cli.eval_grounding import main
from d2road.utils.errors import D2RoadError, DataError
from mono3dvg.data.grounding_converters import convert_mono3drefer, convert_monomulti3d
from mono3dvg.data.labelled_sources import read_attributes
from mono3dvg.evaluation.subsets import read_subsets
from mono3dvg.schema import read_grounding, write_grounding
from tests.factories.grounding_files import annotation, answer, box, expression, grounding_content, write_files
from tests.mono3dvg.data.test_grounding_converters import _mono3drefer, _rope

OTHERS = [None, True, -1, 1e308, "x", "", [], {}, [[]], {"a": 1}, [None], 1.5]
SUBSETS = {name: [] for name in ("Unique", "Multiple", "Near", "Medium", "Far", "Easy", "Moderate", "Hard")}


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    raw = grounding_content(
        [annotation(i, box(i, 20 + i)) for i in range(3)],
        [expression(0, [0], legacy={"instanceID": 5}), expression(1, [], distractors=True, category_ids=[0])],
    )
    gt, pred = write_files(tmp_path, raw, [answer(0, [box(0, 20)]), answer(1, [])])
    subsets = tmp_path / "subsets.json"
    subsets.write_text(json.dumps(SUBSETS | {"Unique": [5], "Near": [5], "Easy": [5]}))
    return {"--gt": gt, "--pred": pred, "--subsets": subsets}


def arguments(files: dict[str, Path]) -> list[str]:
    return [word for option, path in files.items() for word in (option, str(path))]


@pytest.mark.parametrize("option", ["--gt", "--pred", "--subsets"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 1200 + "]" * 1200, "nested too deep|expected"),
        ('{"a":' * 1200 + "1" + "}" * 1200, "nested too deep|expected"),
        ("1" * 400, "integer of 400 digits"),
        ('{"images": [{"id": ' + "9" * 400 + "}]}", "integer of 400 digits"),
        ('{"score_threshold": 1e999}', "beyond double precision"),
        ("7", "expected"),
        ("[]", "expected"),
        ("{", "is not JSON"),
    ],
)
def test_other_forms_end_with_code_2_and_the_name_of_the_file(files, capsys, option, content, message):
    assert main(arguments(files)) == 0
    files[option].write_text(content)
    assert main(arguments(files)) == 2
    said = capsys.readouterr().err
    assert str(files[option]) in said and any(part in said for part in message.split("|")), said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_mark_of_an_encoding_does_no_harm(files, tmp_path, encoding):
    results = []
    for coding in ("utf-8", encoding):
        for path in files.values():
            path.write_text(path.read_text(), encoding=coding)
        assert main([*arguments(files), "--json", str(tmp_path / "out.json")]) == 0
        results.append((tmp_path / "out.json").read_text())
    assert results[0] == results[1]


def mutations(content: Any, count: int) -> list[Any]:
    """Copies of a JSON value with one place replaced, left out, wrapped in a list, or doubled."""
    rng = random.Random(0)
    changed = []
    for _ in range(count):
        copied = copy.deepcopy(content)
        parent, key = rng.choice(list(_places(copied)))
        kind = rng.choice(("other", "other", "none", "wrapped", "twice"))
        if kind == "other":
            parent[key] = rng.choice(OTHERS)
        elif kind == "none":
            del parent[key]
        elif kind == "wrapped":
            parent[key] = [parent[key]]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        changed.append(copied)
    return changed


def _places(value: Any):
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _published(folder: Path, name: str) -> tuple[Path, Callable[[], Any]]:
    out = folder / "out.json"
    if name == "Mono3DRefer":
        _mono3drefer(folder)
        return folder / "Mono3DRefer.json", lambda: write_grounding(out, convert_mono3drefer(folder, "test"))
    _rope(folder, nested=False, as_text=False)
    path = next(p for p in sorted(folder.rglob("*.json")) if p.name == name)
    image_dir = next(p for p in sorted(folder.iterdir()) if p.is_dir() and any(p.glob("*.jpg")))
    options = {"denorm": folder / "denorm", "labels": next(iter(sorted(folder.glob("label*"))), None)}
    return path, lambda: write_grounding(out, convert_monomulti3d(path, image_dir, folder / "calib", **options))


@pytest.mark.parametrize("name", ["--gt", "--subsets", "Mono3DRefer", "train.json", "a_obstacle.json"])
def test_no_damaged_value_ends_in_a_traceback(files, tmp_path, name):
    if name in files:
        path, read = files[name], lambda: {"--gt": read_grounding, "--subsets": read_subsets}[name](files[name])
    else:
        folder = tmp_path / "published"
        folder.mkdir()
        path, read = _published(folder, name)
    read()
    refused = 0
    for content in mutations(json.loads(path.read_text()), 150):
        path.write_text(json.dumps(content))
        try:
            read()
        except (D2RoadError, FileNotFoundError):
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "line", ["[" * 1200, "7", "[]", '{"file_name": 7, "objects": []}', '{"file_name": "a", "objects": [[]]}']
)
def test_attributes_of_another_form_name_file_and_line(tmp_path, line):
    (tmp_path / "attributes.jsonl").write_text('{"file_name": "a.jpg", "objects": []}\n' + line + "\n")
    with pytest.raises(DataError, match=r"attributes\.jsonl line 2"):
        read_attributes(tmp_path / "attributes.jsonl")
