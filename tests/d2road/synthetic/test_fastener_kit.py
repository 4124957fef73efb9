"""The toy kits: what is wrong is what the masks show, files are in LOCO's layout, runs are repeatable and resumable."""

import hashlib
import json
import runpy
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from d2road.data import register_by_name
from d2road.synthetic.fastener_kit import make_toy_loco
from d2road.synthetic.fastener_kit.kit import CELLS, sample_kit, slot_box
from d2road.synthetic.fastener_kit.kit_image import PX2_PER_MM2, defect_types, good_image
from d2road.synthetic.fastener_kit.kit_parts import COLORS, PART_KINDS
from d2road.synthetic.fastener_kit.kit_render import build_scene, sample_kit_view, shade, to_image_size
from d2road.synthetic.fastener_kit.kit_writer import image_rng, render_kit_image
from d2road.synthetic.fastener_kit.logical_anomalies import LOGICAL, overlaps
from d2road.synthetic.fastener_kit.structural_anomalies import STRUCTURAL
from efficientad.evaluation.spro import make_defect, read_defects_config

COUNTS = {"train": 2, "validation": 1, "good": 1, "logical": 6, "structural": 2}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A small data set and what its maker returned."""
    root = tmp_path_factory.mktemp("toy") / "set"
    return root, make_toy_loco(root, seed=3, workers=1, **COUNTS)


def digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def counts(kit):
    return Counter(part.cell for part in kit.parts), Counter(part.kind for part in kit.parts)


@pytest.mark.parametrize("seed", range(30))
def test_good_kits_are_complete_and_nothing_overlaps(seed):
    kit = sample_kit(np.random.default_rng(seed))
    cells, kinds = counts(kit)
    assert cells == {name: cell.count for name, cell in CELLS.items()}
    assert kinds == {cell.kind: cell.count for cell in CELLS.values()}
    assert kit.color == kit.label_color
    for i, part in enumerate(kit.parts):
        x0, y0, x1, y1 = slot_box(CELLS[part.cell], part.slot, part.slots)
        assert x0 < part.x < x1 and y0 < part.y < y1
        # Discs cover more than the parts do, so neighbours of one compartment are left to the image below.
        assert not any(overlaps(part, p) for p in kit.parts[i + 1 :] if p.cell != part.cell)


def test_parts_do_not_cover_each_other_in_images():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        kit = sample_kit(rng)
        masks = build_scene(kit, sample_kit_view(rng), rng).part_masks
        assert np.sum(masks, axis=0).max() == 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", LOGICAL)
def test_logical_anomalies_break_the_rule_they_are_named_after(kind, seed):
    rng = np.random.default_rng([seed, 1])
    good = sample_kit(rng)
    wrong, findings = LOGICAL[kind](rng, good)
    (cells, kinds), (good_cells, good_kinds) = counts(wrong), counts(good)
    types = {finding.defect for finding in findings}
    assert types <= {entry["defect_name"] for entry in defect_types()}
    assert all(finding.parts or finding.box for finding in findings)
    assert all(any(part is p for p in wrong.parts) for finding in findings for part in finding.parts)
    if kind == "missing":
        ((lost, n),) = (good_kinds - kinds).items()
        assert n == 1 and types == {f"missing_{lost}"} and not kinds - good_kinds
    elif kind == "extra":
        ((more, n),) = (kinds - good_kinds).items()
        assert n == 1 and types == {f"extra_{more}"} and len(findings[0].parts) == kinds[more]
    elif kind == "miscounted":
        ((lost, _),), ((more, _),) = (good_kinds - kinds).items(), (kinds - good_kinds).items()
        assert types == {f"missing_{lost}", f"extra_{more}"} and len(wrong.parts) == len(good.parts)
    elif kind == "swapped":
        assert kinds == good_kinds and cells == good_cells
        assert all(p.kind != CELLS[p.cell].kind or p.color not in ("", good.color) for f in findings for p in f.parts)
    elif kind == "misplaced":
        assert kinds == good_kinds
        moved = findings[-1].parts[0]
        assert not any(part == moved for part in good.parts)
    else:
        assert wrong.label_color != wrong.color == good.color and wrong.parts == good.parts
        assert {p.kind for p in findings[0].parts} == {"plug"}


def test_saturation_is_about_the_area_of_a_part():
    entries = {entry["defect_name"]: entry for entry in defect_types()}
    rng = np.random.default_rng(0)
    kit = sample_kit(rng)
    scene = build_scene(kit, sample_kit_view(rng), rng)
    for part, mask in zip(kit.parts, scene.part_masks):
        for what in ("missing", "extra"):
            entry = entries[f"{what}_{part.kind}"]
            assert not entry["relative_saturation"]
            assert to_image_size(mask).sum() == pytest.approx(entry["saturation_threshold"], rel=0.2)
    assert PART_KINDS["washer"].area * PX2_PER_MM2 == pytest.approx(np.pi * (8.19**2 - 3.9**2) * PX2_PER_MM2, rel=0.05)


def test_masks_of_damage_are_where_the_image_changes():
    for kind in STRUCTURAL:
        for seed in range(3):
            images = []
            for damaged in (False, True):
                rng = np.random.default_rng(seed)
                kit, view = sample_kit(rng), sample_kit_view(rng)
                scene = build_scene(kit, view, rng)
                mask = to_image_size(STRUCTURAL[kind](rng, scene, kit), 0.3) if damaged else None
                images.append(shade(scene, view).astype(int))
            change = np.abs(images[1] - images[0]).max(2)
            assert 40 < mask.sum() < 3000
            # In a deep shadow little is seen of it; shadows of its own reach a little beyond it.
            assert np.mean(change[mask] > 5) > 0.6, (kind, seed)
            assert np.median(change[mask]) > 12 > 10 * np.mean(change[~mask]), (kind, seed)


def test_colours_differ_as_the_label_says():
    images = {}
    for seed in range(20):
        kit = sample_kit(image_rng(0, "train", seed))
        images.setdefault(kit.color, render_kit_image(0, "train", seed).image if kit.color not in images else None)
        if set(images) == set(COLORS):
            break
    stripe = {color: image[268:286, 40:75].reshape(-1, 3).mean(0) for color, image in images.items()}
    assert stripe["red"][0] > 2 * stripe["red"][2] and stripe["blue"][2] > 2 * stripe["blue"][0]


def test_good_images_vary_a_little():
    first, second = (good_image(np.random.default_rng(seed)).image.astype(int) for seed in (0, 4))
    assert 3 < np.abs(first - second).mean() < 30
    assert first.max() > 200 and first.min() < 30 and 60 < first.mean() < 160


def test_files_are_in_the_layout_of_loco(toy):
    root, done = toy
    category = root / "fastener_kit"
    name = f"loco:{category}"
    parts = []
    for suffix in ("", ":validation", ":test"):
        register_by_name(name + suffix)
        parts.append(DatasetCatalog.get(name + suffix))
    assert [len(part) for part in parts] == [2, 1, 9] and done["drawn"] == 12
    assert "test/logical_anomalies: 6 images: missing 1, extra 1, swapped 1" in done["summary"]
    types = read_defects_config(category / "defects_config.json")
    records = {r["file"]: r for r in map(json.loads, (category / "images.jsonl").read_text().splitlines())}
    assert len(records) == 12
    for record in parts[2]:
        told = records[record["file_name"][len(str(category)) + 1 :]]
        assert (record["width"], record["height"]) == (320, 320)
        assert (told["anomaly"] == "good") == (record["label"] == 0)
        defects = [make_defect(np.asarray(Image.open(m)), types, m) for m in record["mask_files"]]
        values = [int(np.asarray(Image.open(m)).max()) for m in record["mask_files"]]
        assert [types[value].name for value in values] == told["defects"]
        assert all(0 < d.saturation <= d.mask.sum() for d in defects)
        assert len(defects) >= record["label"]


def test_a_run_is_repeatable_and_goes_on_where_it_stopped(toy, tmp_path):
    root, _ = toy
    before = digests(root)
    (root / ".images/logical/004.json").unlink()
    (root / "fastener_kit/test/logical_anomalies/004.png").unlink()
    assert make_toy_loco(root, seed=3, workers=0, **COUNTS)["drawn"] == 1
    assert digests(root) == before
    with pytest.raises(ValueError, match=r"other parameters \(seed 3 there, 4 asked for\): use --overwrite"):
        make_toy_loco(root, seed=4, workers=1, **COUNTS)
    other = {**dict.fromkeys(COUNTS, 0), "train": 2}
    make_toy_loco(tmp_path / "b", seed=3, workers=2, **other)
    made = digests(tmp_path / "b/fastener_kit")
    assert {k: v for k, v in made.items() if k.endswith(".png")} == {
        k[13:]: v for k, v in before.items() if k.startswith("fastener_kit/train")
    }
    make_toy_loco(tmp_path / "b", seed=4, workers=1, overwrite=True, **other)
    assert digests(tmp_path / "b/fastener_kit")["train/good/000.png"] != made["train/good/000.png"]
    assert not (tmp_path / "b/fastener_kit/validation").exists()


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"--good is -1, expected 0 or more"):
        make_toy_loco(tmp_path, good=-1)
    with pytest.raises(ValueError, match="at least 2 images are needed"):
        make_toy_loco(tmp_path, train=1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"is not empty and was not made here"):
        make_toy_loco(tmp_path)
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        make_toy_loco(tmp_path / "file")


def test_command_line(tmp_path, repo_dir, monkeypatch, capsys):
    sizes = [w for name in COUNTS for w in (f"--{name}", "2" if name == "train" else "0")]
    words = ["datasets/make_toy_loco.py", "--out", str(tmp_path / "a"), "--workers", "1", *sizes]
    done = subprocess.run([sys.executable, *words], cwd=repo_dir, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "draw 2/2 100%" in done.stdout and "a is complete" in done.stdout
    monkeypatch.setattr(sys, "argv", [*words, "--seed", "1"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(repo_dir / words[0]), run_name="__main__")
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
