"""Masks in every way that programs store them give the pixels that were marked, or an error with their values."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from d2road.utils.errors import DataError
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.map_files import score_file
from efficientad.evaluation.mask_files import read_marked

SIDE = 160


def marked(seed: int = 0) -> np.ndarray:
    """Two round defects and a scratch of 3 pixels, 0 and 255."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(2):
        cv2.circle(mask, tuple(rng.integers(30, SIDE - 30, 2).tolist()), int(rng.integers(6, 16)), 255, -1)
    cv2.line(mask, (20, 140), (120, int(rng.integers(90, 140))), 255, 3)
    return mask


def smooth(mask: np.ndarray) -> np.ndarray:
    """Edges smoothed as by drawing at four times the size."""
    large = Image.fromarray(np.kron(mask, np.ones((4, 4), np.uint8)))
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def rgba(colour: tuple[int, int, int], around: tuple[int, int, int]) -> np.ndarray:
    """Defects painted in a colour on a transparent layer."""
    mask = marked()[..., None] > 0
    return np.concatenate([np.where(mask, colour, around), np.where(mask, 255, 0)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_lossy_masks_score_as_lossless_ones(tmp_path, quality, caplog):
    results = {}
    for suffix, options in ((".png", {}), (".jpg", {"quality": quality})):
        images = []
        for number in range(3):
            mask, rng = marked(number), np.random.default_rng(number)
            path = tmp_path / f"{number}{suffix}"
            Image.fromarray(mask).save(path, **options)
            anomaly_map = cv2.GaussianBlur(mask, (0, 0), 4) / 255 + rng.normal(0, 0.3, mask.shape)
            images.append(score_file(f"bad{number}", "bad", anomaly_map, [path], exact=True))
        images.append(score_file("good", "good", np.random.default_rng(9).normal(0, 0.3, (SIDE, SIDE)), []))
        results[suffix] = evaluate(images)
    for metric in ("aupro", "pixel_auroc", "pixel_f1_max"):
        assert results[".jpg"][metric] == pytest.approx(results[".png"][metric], abs=0.01), metric
    assert "3 of 3 masks" in caplog.text and "neither 0 nor their largest" in caplog.text and "0.jpg" in caplog.text


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("one", lambda: Image.fromarray((marked() > 0).astype(np.uint8))),
        ("bit", lambda: Image.fromarray(marked()).convert("1")),
        ("palette", lambda: Image.fromarray(marked()).convert("RGB").quantize(2)),
        ("red", lambda: Image.fromarray(marked()[..., None] * np.array([1, 0, 0], np.uint8))),
        ("deep", lambda: Image.fromarray(marked().astype(np.uint16) * 257)),
        ("float", lambda: Image.fromarray(marked().astype(np.float32) / 255)),
        ("red on white nothing", lambda: Image.fromarray(rgba((255, 0, 0), (255, 255, 255)))),
        ("black on nothing", lambda: Image.fromarray(rgba((0, 0, 0), (0, 0, 0)))),
        ("grey around", lambda: Image.fromarray(np.where(marked() > 0, 200, 10).astype(np.uint8))),
    ],
)
def test_every_way_to_store_a_mask_marks_the_same_pixels(tmp_path, kind, content):
    path = tmp_path / ("a.tif" if kind == "float" else "a.png")
    content().save(path)
    found, facts = read_marked(path)
    np.testing.assert_array_equal(found, marked() > 0)
    assert not facts.is_empty and not facts.is_inverted


def test_kinds_of_defects_as_small_numbers_all_count(tmp_path):
    mask = marked()
    mask[mask > 0] = 1
    mask[:60][mask[:60] > 0] = 3  # as VisA numbers kinds
    Image.fromarray(mask).save(tmp_path / "a.png")
    found, facts = read_marked(tmp_path / "a.png")
    np.testing.assert_array_equal(found, mask > 0)
    assert facts.rounded == 0


def test_smooth_edges_are_cut_at_half(tmp_path):
    Image.fromarray(smooth(marked())).save(tmp_path / "a.png")
    found, facts = read_marked(tmp_path / "a.png")
    assert (found != (marked() > 0)).mean() < 0.001 and facts.rounded > 0


def photo() -> np.ndarray:
    image = Image.new("L", (SIDE, SIDE), 90)
    ImageDraw.Draw(image).ellipse((30, 30, 90, 90), fill=240)
    return np.asarray(image) + np.random.default_rng(0).integers(0, 15, (SIDE, SIDE), dtype=np.uint8)


@pytest.mark.parametrize(
    ("suffix", "values", "said"),
    [
        (".png", photo, "neither background nor defect"),
        (".png", lambda: np.repeat(marked()[:, : SIDE // 2], 2, 1) // 255 * 60 + marked(5) // 2, "neither"),
        (".png", lambda: np.where(marked() > 0, 255, 240).astype(np.uint8), "no pixel is background"),
        (".jpg", lambda: marked() // 255 * 3, "outlast its compression"),
    ],
)
def test_what_is_no_mask_is_refused_with_its_values(tmp_path, suffix, values, said):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values()).save(path)
    with pytest.raises(DataError, match=rf"a{suffix} is no mask of one defect: its values are .* pixels.*{said}.*PNG"):
        read_marked(path)


def scored(folder: Path, masks: list[np.ndarray]) -> list:
    images = [score_file("good", "good", np.zeros((SIDE, SIDE)), [])]
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"{number}.png")
        images.append(score_file(f"{number}", "bad", np.ones((SIDE, SIDE)), [folder / f"{number}.png"]))
    return images


def test_inverted_and_empty_masks_are_told(tmp_path, caplog):
    evaluate(scored(tmp_path, [marked(), 255 - marked(), np.zeros((SIDE, SIDE), np.uint8)]))
    assert "1 of 3 masks mark all around" in caplog.text and "1 of 3 masks of anomalous images mark no" in caplog.text
    with pytest.raises(DataError, match=r"all 3 masks .* inverted"):
        evaluate(scored(tmp_path, [255 - marked(number) for number in range(3)]))
