"""Dense heads, peaks against a plain search, suppression, scores."""

import pytest
import torch

from d2road.structures import pairwise_iou_bev
from d2road.structures.boxes2d import iou_and_giou
from mono3dvg.detection.box_coding import RawBoxes
from mono3dvg.detection.dense_head import DenseHead, ReferHead, covered_cells, decode_peaks, find_peaks
from mono3dvg.inference import final_scores
from tests.factories.dense_heads import MAP_HW, SIZE_HW, STRIDE, image_world, perfect_maps, raw_maps, scene_of
from tests.factories.roadside_objects import PRIORS


def test_an_image_s_maps_do_not_depend_on_its_batch():
    torch.manual_seed(0)
    head, refer = DenseHead(in_channels=8, num_classes=3, dim=16, depth=2), ReferHead(8)
    maps = torch.randn(3, 8, 12, 20)
    together, alone = head(maps), head(maps[1:2])
    torch.testing.assert_close(together.heat[1:2], alone.heat)
    torch.testing.assert_close(together.regression[1:2], alone.regression)
    torch.testing.assert_close(refer(maps)[1:2], refer(maps[1:2]))
    # Padding at the right and below, as larger images of a batch bring it, reaches no farther than the convolutions.
    padded = torch.nn.functional.pad(maps, (0, 13, 0, 9))
    torch.testing.assert_close(head(padded).heat[:, :, :10, :18], together.heat[:, :, :10, :18])


def test_heads_start_at_their_prior_and_reach_the_input():
    head = DenseHead(in_channels=8, num_classes=3, dim=16, prior=0.01)
    feature = torch.randn(2, 8, 6, 10, requires_grad=True)
    raw = head(feature)
    assert raw.heat.sigmoid().mean().item() == pytest.approx(0.01, rel=0.3)
    start = raw.at(torch.tensor([0]), torch.tensor([5]))
    assert (start.log_std + 1.5).abs().max() < 0.5 and (start.ltrb.exp() - 2).abs().max() < 1
    (raw.heat.sum() + raw.regression.sum() + ReferHead(8)(feature).sum()).backward()
    assert torch.isfinite(feature.grad).all() and (feature.grad != 0).all()


def test_numbers_are_taken_at_their_cell():
    raw = raw_maps(torch.zeros(2, 1, 4, 6), torch.arange(2 * 39 * 24.0).view(2, 39, 4, 6))
    rows = raw.at(torch.tensor([1, 0]), torch.tensor([8, 23]))
    wanted = RawBoxes.unpack(torch.stack([raw.regression[1, :, 1, 2], raw.regression[0, :, 3, 5]]))
    assert torch.equal(rows.dims, wanted.dims) and torch.equal(rows.residuals, wanted.residuals)


def test_attributes_are_predicted_where_they_are_asked_for():
    torch.manual_seed(0)
    feature = torch.randn(2, 8, 6, 10)
    silent = DenseHead(in_channels=8, num_classes=3, dim=16)
    assert silent(feature).attributes_at(torch.tensor([[3], [7]])).shape == (2, 1, 0)
    raw = DenseHead(in_channels=8, num_classes=3, dim=16, num_attributes=4)(feature)
    cells = torch.tensor([[12, 0], [59, 12]])
    wanted = [torch.stack([raw.attributes[b, :, c // 10, c % 10] for c in row]) for b, row in enumerate(cells)]
    assert torch.equal(raw.attributes_at(cells), torch.stack(wanted))
    assert raw.attributes.sigmoid().mean().item() == pytest.approx(0.1, abs=0.1)


def test_peaks_are_those_of_a_plain_search():
    torch.manual_seed(0)
    heat = torch.rand(2, 3, 7, 9)
    covered = covered_cells([(50, 72), (56, 40)], (7, 9), 8, "cpu")
    assert covered.sum((1, 2)).tolist() == [6 * 9, 7 * 5]  # centres at 4, 12, ...: 50 px hold six rows of them
    values, classes, cells = find_peaks(heat, 12, covered)
    for b in range(2):
        found = []
        for c in range(3):
            for y in range(7):
                for x in range(9):
                    around = (heat[b, c] * covered[b])[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    if covered[b, y, x] and heat[b, c, y, x] == around.max():
                        found.append((float(heat[b, c, y, x]), c, y * 9 + x))
        found.sort(reverse=True)
        real = int((values[b] > 0).sum())
        assert list(zip(values[b].tolist(), classes[b].tolist(), cells[b].tolist()))[:real] == found[:12]


def test_threshold_top_k_and_padding():
    world = image_world(0, count=8)
    raw, scene = perfect_maps(world, "ground"), scene_of(world.camera_list[:1])
    threshold = torch.sigmoid(torch.tensor(3.65)).item()  # heats are those of 4.0, 3.9, ...
    found = decode_peaks(raw, scene, [SIZE_HW], STRIDE, PRIORS, "ground", threshold=threshold)
    assert found.valid.tolist() == [[True] * 4]
    found = decode_peaks(raw, scene, [SIZE_HW], STRIDE, PRIORS, "ground", top_k=3)
    assert found.rows.shape == (1, 3, 7)
    nothing = decode_peaks(raw_maps(raw.heat - 99, raw.regression), scene, [SIZE_HW], STRIDE, PRIORS, "ground")
    assert nothing.rows.shape == (1, 1, 7) and not nothing.valid.any()
    both = raw_maps(torch.cat([raw.heat - 99, raw.heat]), raw.regression.repeat(2, 1, 1, 1))
    pair = decode_peaks(both, scene_of(world.camera_list[:2]), [SIZE_HW] * 2, STRIDE, PRIORS, "ground")
    assert pair.valid.sum(1).tolist() == [0, 8]


@pytest.mark.parametrize("option", ["nms_2d", "nms_bev"])
def test_one_object_is_found_once(option):
    """Every object is detected again two cells on, a little weaker, and as another class at its own cell."""
    world = image_world(0, count=6)
    raw, scene = perfect_maps(world, "ground"), scene_of(world.camera_list[:1])
    once = decode_peaks(raw, scene, [SIZE_HW], STRIDE, PRIORS, "ground")
    heat = raw.heat.clone()
    for kind, cell in zip(once.classes[0].tolist(), once.cells[0].tolist()):
        y, x = divmod(cell, MAP_HW[1])
        heat[0, (kind + 1) % 3, y, x] = heat[0, kind, y, x] - 2
        heat[0, kind, y, x + 2] = heat[0, kind, y, x] - 1
        raw.regression[0, :, y, x + 2] = raw.regression[0, :, y, x]
        raw.regression[0, [0, 2], y, x + 2] -= 2
        sides = raw.regression[0, [4, 6], y, x].exp() + torch.tensor([2.0, -2.0])
        raw.regression[0, [4, 6], y, x + 2] = sides.clamp(min=0.05).log()
    twice = raw_maps(heat, raw.regression)
    assert decode_peaks(twice, scene, [SIZE_HW], STRIDE, PRIORS, "ground").valid.sum() == 18
    # As another class an object has another mean size: footprints differ more than 2D boxes.
    limits = {option: 0.3 if option == "nms_2d" else 0.02}
    kept = decode_peaks(twice, scene, [SIZE_HW], STRIDE, PRIORS, "ground", **limits)
    overlap = (
        iou_and_giou(kept.boxes_xyxy[0][:, None], kept.boxes_xyxy[0][None])[0]
        if option == "nms_2d"
        else pairwise_iou_bev(*[torch.cat([kept.rows[0, :, :3] @ scene.ground.frame()[0], kept.rows[0, :, 3:]], 1)] * 2)
    )
    assert overlap.fill_diagonal_(0).max() <= (0.3 if option == "nms_2d" else 0.02)
    assert set(once.cells[0].tolist()) >= set(kept.cells[0].tolist())


def test_scores():
    heat, logit = torch.tensor([0.81, 1.0, 0.0]), torch.tensor([0.0, 100.0, 100.0])
    torch.testing.assert_close(final_scores(heat, logit), torch.tensor([(0.81 * 0.5) ** 0.5, 1.0, 1e-4]))
    torch.testing.assert_close(final_scores(heat, logit, 0.0), logit.sigmoid())
    assert (final_scores(heat, torch.full((3,), -1e4)) == 0).all()
