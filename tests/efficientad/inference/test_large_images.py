"""Large images take the memory of a few tiles, and their maps are those of all tiles at once."""

import subprocess
import sys

import pytest
import torch

from d2road.engine.meta_arch import prepare_for_inference
from efficientad.inference import tiling
from efficientad.inference.tiling import cut_in_batches
from tests.factories.anomaly_models import SIDE, calibrated, entries, narrow_networks

TILES = ("MODEL.EFFICIENT_AD.TILING.ENABLED", True, "MODEL.EFFICIENT_AD.TILING.TILE", (SIDE, SIDE))
PEAK = """
import sys, torch
from benchmarks.common.process_memory import peak_mb
torch.set_num_threads(1)
from tests.factories.anomaly_models import SIDE, build, narrow_networks
from tests.efficientad.inference.test_large_images import TILES
with narrow_networks():
    model = build(*TILES, "INPUT.IMAGE_SIZE", (0, 0)).eval()
def run(side):
    with torch.no_grad():
        return sum(float(raw.tiles.sum()) for raw in model.raw_maps(torch.zeros(1, 3, side, side)))
run(300)
before = peak_mb()
run(int(sys.argv[1]))
print(round(peak_mb() - before))
"""


@pytest.mark.parametrize("puad", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
def test_maps_do_not_depend_on_how_many_tiles_pass_together(monkeypatch, puad, prepared):
    with narrow_networks():
        batches = [[entry] for entry in entries(3, (200, 330), seed=1)]
        pairs = (*TILES, "INPUT.IMAGE_SIZE", (0, 0), "MODEL.EFFICIENT_AD.PUAD.ENABLED", puad)
        model = calibrated(*pairs, batches=batches)
    if prepared:
        prepare_for_inference(model)
    sizes, found = [], []
    raw_maps = model.inference._of
    monkeypatch.setattr(model.inference, "_of", lambda net, tiles: sizes.append(len(tiles)) or raw_maps(net, tiles))
    for pixels in (10**9, 2 * SIDE * SIDE, 1):
        monkeypatch.setattr(tiling, "BATCH_PIXELS", pixels)
        sizes.clear()
        with torch.no_grad():
            found.append(model(entries(1, (200, 330)))[0])
        assert max(sizes) == {10**9: 8, 2 * SIDE * SIDE: 2, 1: 1}[pixels] and sum(sizes) == 8
    for other in found[1:]:
        torch.testing.assert_close(other["anomaly_map"], found[0]["anomaly_map"], rtol=1e-4, atol=1e-6)
        assert float(other["anomaly_score"]) == pytest.approx(float(found[0]["anomaly_score"]), rel=1e-4)


def test_every_tile_is_cut_once_and_in_order():
    image = torch.arange(3 * 900 * 700.0).view(3, 900, 700)
    boxes = tiling.tile_boxes((900, 700), (256, 256), 0.25)
    batches = list(cut_in_batches(image, boxes))
    assert max(map(len, batches)) == 4 and torch.equal(torch.cat(batches), tiling.cut(image, boxes))


@pytest.mark.skipif(sys.platform != "linux", reason="its peak memory is known on Linux alone")
def test_memory_does_not_grow_with_the_number_of_tiles(repo_dir):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "1100"], cwd=repo_dir, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150, f"{done.stdout} MB for 100 tiles more than for 9"
