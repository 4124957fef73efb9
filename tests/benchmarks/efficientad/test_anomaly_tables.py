"""Comparisons of EfficientAD's benchmarks and their tables, from hand-made records."""

import numpy as np
import pytest

from benchmarks.common.records import record_path, write_record
from benchmarks.efficientad import anomaly_benchmark_tables as tables
from benchmarks.efficientad.anomaly_results import FINAL
from benchmarks.efficientad.anomaly_tables import Comparison, conclude
from benchmarks.efficientad.bootstrap_draws import DRAW_SEED, DRAWS, difference, flat, read_draws, write_draws
from efficientad.evaluation.bootstrap_intervals import draw_metrics, paired_bootstrap
from efficientad.evaluation.image_scores import ImageScores, score_image

TYPES = ("logical_anomalies", "structural_anomalies")
IMAGES = [ImageScores(f"test/{kind}/{n}", kind, float(n)) for kind in ("good", *TYPES) for n in range(3)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(seed: int, lift: float) -> list[ImageScores]:
    """Images of 8 x 8 pixels whose anomalies are `lift` higher."""
    rng, images = np.random.default_rng(seed), []
    for kind in ("good", "dent"):
        for number in range(12):
            anomaly_map, mask = rng.normal(size=(8, 8)), np.zeros((8, 8), np.uint8)
            if kind != "good":
                mask[2:5, 3:6] = 1
                anomaly_map += lift * mask
            images.append(score_image(f"test/{kind}/{number}", kind, anomaly_map, mask, exact=True))
    return images


def keep(bench: str, run: str, level: float, steps: int = 300, seed: int = 1, spread: float = 0.01, **more) -> None:
    """A record and its draws, all metrics about `level`."""
    rng = np.random.default_rng(round(level * 1000) + seed)
    draws = {
        "image_auroc": None,
        "aupro": None,
        "pixel_auroc": None,
        "image_auroc_by_type": dict.fromkeys((*TYPES, "mean")),
        "auspro": {kind: {"0.05": None, "0.3": None} for kind in (*TYPES, "mean")},
    }

    def fill(tree: dict, make) -> dict:
        return {key: fill(item, make) if isinstance(item, dict) else make() for key, item in tree.items()}

    metrics = fill(draws, lambda: level)
    metrics["intervals"] = fill(draws, lambda: [level - 0.1, level + 0.1])
    name = f"teacher_0123abcd/{run}"
    path = record_path(bench, f"{name}/{FINAL}").with_suffix(".npz")
    write_draws(path, IMAGES, fill(draws, lambda: level + rng.normal(0, spread, DRAWS)))
    about = {"train_images": 7, "validation_images": 1, "test_images": 9, "penalty_images": "none"}
    about |= {"teacher": "t.pth (0123abcd)", "teacher_sha256": "00ff", "published_steps": 70000}
    losses = {"losses": {"loss_hard": 0.5}, "seconds_per_step": 1.5} if steps else {}
    write_record(
        bench, f"{name}/{FINAL}", metrics={**metrics, **losses}, command="", config="", seed=seed, seconds=1.0,
        steps=steps, **{**about, **more},
    )  # fmt: skip


def test_difference_of_one_training_is_the_paired_bootstrap(folder):
    sides = [scored(0, 2.0), scored(1, 3.0)]
    files = []
    for number, images in enumerate(sides):
        write_draws(folder / f"{number}.npz", images, draw_metrics(images, False, DRAWS, DRAW_SEED))
        files.append(read_draws(folder / f"{number}.npz"))
    assert files[0].scores.tolist() == [image.score for image in sides[0]]
    expected = paired_bootstrap(*sides, draws=DRAWS, seed=DRAW_SEED)
    for metric in ("image_auroc", "aupro"):
        assert difference([files[0]], [files[1]], metric) == pytest.approx(expected[metric], abs=1e-6)
    assert difference([files[0]], [files[1]], "auspro/mean/0.05") is None
    # The spread of trainings widens the interval: those of one side differ much more than the test images allow.
    wide = difference([files[0], files[1]], [files[0], files[1]], "aupro")
    assert wide[0] < min(0, -expected["aupro"][0]) and wide[1] > expected["aupro"][0]


def test_other_images_are_refused(folder):
    images = scored(0, 1.0)
    for name, chosen in (("a", images), ("b", images[1:])):
        write_draws(folder / f"{name}.npz", chosen, draw_metrics(chosen, False, 10, 0))
    a, b = (read_draws(folder / f"{name}.npz") for name in "ab")
    with pytest.raises(ValueError, match="different images"):
        difference([a], [b], "aupro")
    with pytest.raises(FileNotFoundError, match="delete the record"):
        read_draws(folder / "gone.npz")


def test_flat():
    assert flat({"a": {"b": 1, "c": None}, "d": [2, 3]}) == {"a/b": 1, "d": [2, 3]}


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        ("++", "**it is best**: better than a +0.100 (+0.050 to +0.150); b"),
        ("00", "**it cannot be told from the others**"),
        ("+0", "**it is better than some, and not worse than any**: better than a"),
        ("0-", "**it is not best**: worse than b -0.100"),
        ("+-", "**it is better than some, worse than others**"),
        ("", "nothing to compare it with yet"),
    ],
)
def test_the_statement_follows_the_intervals(signs, words):
    middle = {"+": 0.1, "0": 0.0, "-": -0.1}
    found = [
        Comparison("it", name, "m", middle[s], [middle[s] - 0.05, middle[s] + 0.05]) for name, s in zip("ab", signs)
    ]
    assert words in conclude("it", "AUROC", found, str)


def test_pages_without_records():
    for write in (tables.write_screw_tables, tables.write_loco_tables, tables.write_mvtec_tables):
        assert write().read_text() == "No record yet.\n"


def test_screw_page():
    keep(tables.SCREW, "memory_bank_seed1", 0.6, steps=0)
    for seed in (1, 2):
        keep(tables.SCREW, f"linear_attention_seed{seed}_300steps", 0.84 + seed / 100, seed=seed)
    keep(tables.SCREW, "conv_seed1_300steps", 0.75)
    keep(tables.SCREW, "conv_seed1_600steps", 0.9, steps=600)
    page = tables.write_screw_tables().read_text()
    parts = page.split("## teacher 0123abcd, ")[1:]
    assert [part.split(" ")[0] for part in parts] == ["300", "600"]  # runs of other steps are not compared
    assert "| linear attention | 2 | 0.860 (0.760 to 0.960) |" in parts[0] and "0.4 % of the published" in parts[0]
    assert "linear attention: image AUROC 0.855" in parts[0]
    assert "[0.850, 0.860], seeds 2; the aim of 0.80 is reached" in parts[0]
    assert "- convolution: image AUROC 0.750" in parts[0] and "is not reached" in parts[0]
    assert "image AUROC: **linear attention is best**: better than convolution +0.105" in parts[0]
    assert "linear attention less that of memory bank, no training: +0.255" in parts[0]
    assert "linear" not in parts[1] and "convolution less that of memory bank" in parts[1]


def test_loco_page():
    for seed in (1, 2, 3):
        keep(tables.LOCO, f"linear_attention-64_seed{seed}_300steps", 0.5, seed=seed)
        keep(tables.LOCO, f"softmax_attention-64_seed{seed}_300steps", 0.501, seed=seed)
        keep(tables.LOCO, f"linear_attention-0_seed{seed}_300steps", 0.4, seed=seed)
    keep(tables.LOCO, "conv-64_seed1_300steps", 0.6)
    page = tables.write_loco_tables().read_text()
    assert "| linear attention, bottleneck 64 | 1 2 3 |" in page
    assert "| sPRO at 0.05 | linear attention, no bottleneck - convolution, bottleneck 64 | -0.200" in page
    assert "linear attention, no bottleneck - softmax attention, bottleneck 64" not in page  # one thing at a time
    words = page.partition("## In words")[2]
    line = next(row for row in words.splitlines() if "sPRO at 0.05: **linear attention, bottleneck 64" in row)
    assert "is not best**: worse than convolution, bottleneck 64" in line
    assert "not distinguishable from softmax attention, bottleneck 64 -0.001" in line


def test_mvtec_page():
    for category, level in (("screw", 0.8), ("wood", 0.9)):
        keep(tables.MVTEC, f"conv_seed1_500steps/{category}", level, steps=500)
    page = tables.write_mvtec_tables().read_text()
    assert "## convolution, seed 1, teacher 0123abcd, 500 steps" in page
    assert "| **mean of 2** | 0.850 | 0.850 | 0.850 |" in page
