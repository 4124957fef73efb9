"""The benchmark runs small, its plain version agrees with ours, and its arithmetic is right."""

import json
import mmap

import pytest
import torch
from detectron2.structures import Boxes, Instances

from benchmarks.speed import benchmark
from benchmarks.speed import diffusion_det_compare as bench
from benchmarks.speed.speed_diffusion_det import parse
from benchmarks.speed.timing import Stopwatch, alternate, compare, median_parts, peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")
TINY = ["--size", "64x96", "--boxes", "12", "--runs", "1", "--warmup", "0"]
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.DiffusionDet.NUM_HEADS", "2", "MODEL.DiffusionDet.NUM_CLASSES", "6",
         "DATASETS.TRAIN", "('coco:absent.json:absent',)", "MODEL.DiffusionDet.HIDDEN_DIM", "32",
         "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.DiffusionDet.DIM_FEEDFORWARD", "64"]  # fmt: skip


def test_rows_of_all_kinds(repo_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(bench.MATCHER, "boxes", 60)
    config = str(repo_dir / "configs/diffusion_det/coco/resnet50.yaml")
    command = ["diffusion_det", "--config-file", config, "--what", "train", "infer", "compare", "--batch", "1", "2",
               "--steps", "1", "2", *TINY, "--json", "rows.json", "--record", "tiny", *SMALL]  # fmt: skip
    assert benchmark.main(command) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    kinds = [row["what"] for row in rows]
    assert [kinds.count(k) for k in ("train", "infer", "compare", "pooler", "matcher", "load")] == [2, 4, 3, 2, 1, 1]
    for row in rows:
        if row["what"] in ("train", "infer"):
            parts = {name: ms for name, ms in row["ms"].items() if name not in ("total", "of which matching")}
            assert sum(parts.values()) == pytest.approx(row["ms"]["total"])
            assert row["images_per_s"] == pytest.approx(1000 * row["batch"] / row["ms"]["total"])
            assert 50 < row["peak_memory_mb"] < 20000
        if row["what"] == "compare":
            assert row["same_objects"] > 0.98 and row["max_box_difference_px"] < 0.05
            assert set(row["fused"]) >= {"ms", "ratio", "ratio_best"}
    train = next(row for row in rows if row["what"] == "train")
    assert set(train["ms"]) == {"total", "preprocess", "backbone", "decoder", "loss", "of which matching", "backward",
                                "optimizer", "other"}  # fmt: skip
    assert "absent.json" in rows[-1]["skipped"]  # no data: said, not fatal
    record = json.loads((tmp_path / "benchmarks/results/benchmark/tiny.json").read_text())
    assert record["metrics"]["rows"] == rows and record["seed"] == 0
    assert record["command"].startswith("python -m benchmarks.speed.benchmark diffusion_det --config-file")
    printed = capsys.readouterr().out
    assert "infer     batch 2  steps 1  boxes 12" in printed and "decoder" in printed


@pytest.mark.parametrize("steps", [1, 4])
def test_plain_version_agrees_when_boxes_are_renewed(steps, repo_dir):
    """Scores on both sides of the renewal threshold, so that the random draws must keep their order."""
    config = str(repo_dir / "configs/diffusion_det/coco/resnet50.yaml")
    args = parse(["--config-file", config, *TINY, *SMALL])
    _, model = bench.build(args, 40, steps, compat=True)
    model.eval()
    for stage in model.head.head_series:
        stage.class_logits.bias.data.fill_(-2)
    inputs = bench.random_inputs(args, 1, 6, training=False)
    plain = bench.PlainDiffusionDet(model).eval()
    expected, found = (bench.repeatable(net, inputs, 3)() for net in (plain, model))
    share, box_px, score = bench.agreement(expected, found)
    assert len(found[0]["instances"]) > 10 and share == 1 and box_px < 0.01 and score < 1e-4
    scores = found[0]["instances"].scores
    assert scores.min() < 0.5 < scores.max()


def test_plain_matcher_equals_ours(monkeypatch):
    monkeypatch.setitem(bench.MATCHER, "boxes", 60)
    monkeypatch.setitem(bench.MATCHER, "stages", 2)
    for seed in range(5):
        logits, boxes, gt, labels, whwh = bench.matcher_scene(seed, CPU)
        targets = bench.Targets.pad(gt, labels, whwh).repeat(2)
        ours = bench.match_dynamic_k(logits.flatten(0, 1), boxes.flatten(0, 1), targets, as_published=True)
        for row, (stage, image) in zip(ours, [(0, 0), (0, 1), (1, 0), (1, 1)]):
            plain = bench.plain_match(logits[stage, image], boxes[stage, image], gt[image], labels[image], whwh[image])
            assert torch.equal(row, plain)
            assert set(row.tolist()) > set(range(20))  # every object is served, and some boxes serve none


def test_agreement_counts_what_differs():
    def found(boxes, classes):
        instances = Instances((50, 50), pred_boxes=Boxes(torch.tensor(boxes)), scores=torch.full((len(boxes),), 0.5))
        instances.pred_classes = torch.tensor(classes)
        return [{"instances": instances}]

    a = found([[0, 0, 9, 9.0], [5, 5, 20, 20.0]], [0, 1])
    assert bench.agreement(a, found([[5, 5, 20, 20.01], [0, 0, 9, 9.0]], [1, 0])) == pytest.approx(
        (1, 0.01, 0), abs=1e-6
    )
    assert bench.agreement(a, found([[5, 5, 20, 20.0], [0, 0, 9, 9.0]], [1, 1]))[0] == 0.5
    assert bench.agreement(a, found([[5, 5, 20, 30.0]], [1]))[0] == 0


def test_ratios():
    rows = compare({"slow": [2.0, 4.0, 6.0], "fast": [1.0, 1.0, 2.0]}, "slow")
    assert rows["fast"] == pytest.approx(
        {"ms": 1000, "ms_best": 1000, "ratio": 3, "ratio_low": 2, "ratio_high": 4, "ratio_best": 2}
    )
    order = []
    seconds = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, 1, CPU)
    assert order == ["a", "b"] * 3 and [len(v) for v in seconds.values()] == [2, 2]


def test_medians_leave_out_the_warm_up():
    values = iter([{"total": 100.0}, {"total": 1.0}, {"total": 3.0}, {"total": 2.0}])
    assert median_parts(lambda: next(values), 3, 1) == {"total": 2.0}


def test_stopwatch_and_memory():
    watch = Stopwatch(CPU)
    double = watch.timed("double", lambda x, scale=2: x * scale)
    assert (double(2), double(2, scale=3)) == (4, 6)
    assert list(watch.seconds) == ["double"] and watch.seconds["double"] > 0
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    with mmap.mmap(-1, 64 * 2**20) as block:  # from the system: an allocator may still hold what was freed before
        block.write(b"1" * len(block))
    assert peak_memory_mb(CPU) - before > 50


def test_wrong_use_says_what_is_expected(capsys):
    assert benchmark.main(["no_such_system"]) == 2
    assert "systems: diffusion_det" in capsys.readouterr().err
    for wrong, message in ((["--size", "48"], "HEIGHTxWIDTH"), (["--size", "8x640"], "at least 32"),
                           (["--batch", "0"], "at least 1"), (["--runs", "0"], "--runs got 0")):  # fmt: skip
        with pytest.raises(SystemExit):
            benchmark.main(["diffusion_det", *wrong])
        assert message in capsys.readouterr().err
