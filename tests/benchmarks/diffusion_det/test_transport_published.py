"""What needs no training, on a file of weights in the published layout and a folder in COCO's."""

import json

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from benchmarks.common.records import read_record
from benchmarks.diffusion_det import transport_evaluation
from benchmarks.diffusion_det.transport_decoding import REPORTS
from benchmarks.diffusion_det.transport_differences import model_name
from benchmarks.diffusion_det.transport_published import coco_name, evaluate_published, published_config
from d2road.utils.image_io import write_image
from diffusion_det.published_buffers import PUBLISHED_BUFFERS
from diffusion_det.schedule import cosine_alphas_cumprod
from tests.factories.small_detectors import CONFIG, SMALL

SIZES = [(96, 128), (128, 96), (96, 128)]


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """Three images of two sizes with an object of each of five classes, in COCO's folders."""
    monkeypatch.chdir(tmp_path)
    rng, folder = np.random.default_rng(0), tmp_path / "coco"
    content = {"images": [], "annotations": [], "categories": [{"id": 3 * c + 1, "name": f"c{c}"} for c in range(5)]}
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, (height, width) in enumerate(SIZES, 7):
        name = f"{number}.png"
        write_image(folder / "val2017" / name, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for category in content["categories"]:
            x, y, w, h = *rng.uniform(0, 60, 2), *rng.uniform(10, 36, 2)
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": category["id"],
                 "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            )  # fmt: skip
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def config(tmp_path):
    pairs = [*SMALL, "INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128"]
    from d2road.config import make_cfg

    path = tmp_path / "small.yaml"
    path.write_text(make_cfg(str(CONFIG), pairs).dump())
    return str(path)


@pytest.fixture
def weights(coco, config, tmp_path):
    """Weights with the buffers of the schedule, as the published files have them."""
    torch.manual_seed(0)
    model = build_model(published_config(config, coco_name(coco)))
    torch.nn.init.zeros_(model.head.head_series[-1].class_logits.bias)
    state = model.state_dict() | {name: cosine_alphas_cumprod() for name in PUBLISHED_BUFFERS}
    torch.save({"model": state, "iteration": 449999}, tmp_path / "published.pth")
    return str(tmp_path / "published.pth")


def test_all_rows_and_differences_are_recorded(coco, config, weights):
    page = evaluate_published(config, weights, coco, boxes=[5, 10], steps=[1, 4], count=3)
    record = read_record("transports", model_name("published_small", 0, 3))
    rows = record["metrics"]
    names = {
        f"{start}_{k}x{n}"
        for start, k in (("restart", 4), ("ddim", 4), ("ddim_kept", 4), ("noise", 1))
        for n in (5, 10)
    }
    fixed = {f"{start}_1x{n}" for start in transport_evaluation.FIXED for n in (5, 10)}
    assert set(rows) == names | fixed | {"noise_1x20", "noise_1x40"}
    assert all(0 <= row[kind]["AP"] <= 100 for row in rows.values() for kind in REPORTS)
    assert record["views"] == 3 and record["ceilings"]["5"] == pytest.approx(100)
    text = page.read_text()
    assert "| ddim 4x5" in text and "against 4 restarts" in text and "published.pth" in text
    differences = read_record("transports", "published_small_seed0/differences_views3")["metrics"]
    assert differences and all(found["low"] <= found["high"] for found in differences.values())


def test_a_second_run_runs_nothing(coco, config, weights, monkeypatch):
    arguments = {"boxes": [5], "steps": [1], "count": 2}
    first = evaluate_published(config, weights, coco, **arguments).read_text()
    monkeypatch.setattr(transport_evaluation, "decode", None)
    assert evaluate_published(config, weights, coco, **arguments).read_text() == first


def test_without_a_folder_it_is_the_test_set_of_the_config(coco, config, weights, tmp_path):
    from d2road.config import make_cfg

    name = coco_name(coco)
    path = tmp_path / "own.yaml"
    path.write_text(make_cfg(config, ["DATASETS.TEST", f"('{name}',)"]).dump())
    evaluate_published(str(path), weights, None, boxes=[5], steps=[1, 2], count=3)
    evaluate_published(config, weights, coco, boxes=[5], steps=[1, 2], count=3)
    own, given = (read_record("transports", model_name(f"published_{n}", 0, 3))["metrics"] for n in ("own", "small"))
    assert set(own) == set(given) and "noise_1x10" in own
    for row, metrics in own.items():  # in batches here, one by one there
        assert metrics["union"]["AP"] == pytest.approx(given[row]["union"]["AP"], abs=0.5)


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="name the folder that holds COCO"):
        coco_name(tmp_path)
