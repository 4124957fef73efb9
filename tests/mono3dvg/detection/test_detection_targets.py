"""Dense targets: where objects stand, who owns a cell, what is ignored; candidates from labels."""

import pytest
import torch

from mono3dvg.detection.dense_head import cells_to_pixels
from mono3dvg.detection.detection_targets import dense_targets, part_targets, refer_targets, relation_targets
from mono3dvg.detection.labelled_candidates import candidates_of_objects, match_objects
from mono3dvg.detection.objects import Objects
from mono3dvg.language.form_parts import PARTS
from mono3dvg.language.kleene import MAYBE, NO, YES
from mono3dvg.relation.relation_features import NUM_UNARY_FEATURES, compute_relation_features
from tests.factories.dense_heads import MAP_HW, SIZE_HW, STRIDE, image_world, objects_of, scene_of


@pytest.fixture
def world():
    return image_world(1, count=5)


def targets(world, objects=None):
    objects = objects_of(world) if objects is None else objects
    return dense_targets([objects], scene_of(world.camera_list[:1]), 3, MAP_HW, STRIDE, "ground")


def test_heat_is_one_at_each_object_and_falls_off(world):
    dense = targets(world)
    flat = dense.heat.flatten(2)
    assert (flat[0, world.classes, dense.cells] == 1).all()
    assert int((flat == 1).sum()) == 5
    middle, _ = world.camera_list[0].project(
        world.boxes3d[:, :3] - world.camera_list[0].ground_rotation()[:, 1] * world.boxes3d[:, 3:4] / 2
    )
    assert (cells_to_pixels(dense.cells, MAP_HW[1], STRIDE) - torch.tensor(middle)).abs().max() <= STRIDE / 2 + 1e-3
    for i in range(5):
        bell, (row, column) = dense.gaussians[i], divmod(int(dense.cells[i]), MAP_HW[1])
        wide = (world.boxes_xyxy[i, 2] - world.boxes_xyxy[i, 0]) / STRIDE
        spread = (bell[row] > 0.5).sum()
        assert 1 <= spread <= max(3.0, 0.3 * wide) and (bell[row, column + 1 :].diff() <= 0).all()


def test_nearest_owns_a_cell(world):
    objects = objects_of(world)
    pair = objects[torch.tensor([0, 0, 1])]
    pair.rows = pair.rows.clone()
    center = scene_of(world.camera_list[:1]).cameras.center[0]
    pair.rows[0, :3] = center + (pair.rows[0, :3] - center) * 1.3
    pair.rows[0, 3] = pair.rows[1, 3] * 1.3
    dense = targets(world, pair)
    assert dense.cells[0] == dense.cells[1] != dense.cells[2]
    assert dense.owns.tolist() == [False, True, True]


def test_objects_without_3d_box_and_cut_ones_stand_in_the_middle_of_their_2d_box(world):
    objects = objects_of(world)
    objects.has_3d[0] = False
    objects.boxes_xyxy[1] = torch.tensor([0.0, 500, 60, 700])  # its projected middle lies elsewhere
    dense = targets(world, objects)
    for i in (0, 1):
        middle = (objects.boxes_xyxy[i, :2] + objects.boxes_xyxy[i, 2:]) / 2
        assert (cells_to_pixels(dense.cells[i], MAP_HW[1], STRIDE) - middle).abs().max() <= STRIDE / 2
    assert dense.has_middle.tolist() == [False, True, True, True, True]


def test_ignored_objects_are_neither_object_nor_background(world):
    objects = objects_of(world)
    objects.ignore[2] = True
    dense = targets(world, objects)
    assert dense.position.tolist() == [0, 1, 3, 4] and int((dense.heat == 1).sum()) == 4
    x1, y1, x2, y2 = (world.boxes_xyxy[2] / STRIDE).round().int().clamp(min=0).tolist()
    assert (dense.weight[0, y1:y2, x1:x2] == 0).all() and 0 < (dense.weight == 0).sum() < 1.2 * (x2 - x1 + 2) * (
        y2 - y1 + 2
    )


def test_no_objects(world):
    none = objects_of(world)[torch.zeros(0, dtype=torch.long)]
    dense = dense_targets([none, objects_of(world)], scene_of(world.camera_list[:2]), 3, MAP_HW, STRIDE, "ground")
    assert (dense.heat[0] == 0).all() and dense.image.tolist() == [1] * 5
    empty = targets(world, none)
    assert len(empty.owns) == 0 and (empty.heat == 0).all()


def test_sentences_mean_objects_of_their_image(world):
    objects = objects_of(world)
    dense = dense_targets([objects, objects], scene_of(world.camera_list[:2]), 3, MAP_HW, STRIDE, "ground")
    meant = [torch.tensor([1, 3]), torch.tensor([], dtype=torch.long)]
    target, others = refer_targets(dense, meant, [1, 0])
    cells = dense.cells[:5]
    assert (target.flatten(1)[0, cells] == 1).tolist() == [False, True, False, True, False]
    assert (others.flatten(1)[0, cells] == 1).tolist() == [True, False, True, False, True]
    assert (target[1] == 0).all() and (others.flatten(1)[1, cells] == 1).all()
    matched = torch.tensor([[0, 1, -1, 3, -2], [3, -1, 1, 0, 0]])
    wanted = relation_targets(matched, meant, torch.tensor([1, 0]))
    assert wanted.tolist() == [[True, False, True, False, False], [False] * 5]


def test_labels_as_candidates(world):
    objects = objects_of(world)
    objects.has_3d[4] = False
    objects.ignore[3] = True
    fewer = objects[torch.tensor([2])]
    scene = scene_of(world.camera_list[:2])
    found = candidates_of_objects([objects, fewer], scene, 3, MAP_HW, STRIDE, "ground")
    assert found.valid.tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]
    assert torch.equal(found.rows[0], objects.rows) and torch.equal(found.rows[1, 0], objects.rows[2])
    assert torch.equal(found.class_probs[0].argmax(1), objects.classes)
    dense = targets(world)
    assert torch.equal(found.cells[0, :3], dense.cells[:3])


def test_attributes_of_labels(world):
    """As labels say, half where they do not; with jitter mostly so."""
    objects, scene = objects_of(world), scene_of(world.camera_list[:1])
    objects.attributes[:, 0], objects.attributes[:, 1] = YES, NO
    assert candidates_of_objects([objects], scene, 3, MAP_HW, STRIDE, "ground").attributes.shape == (1, 5, 0)
    found = candidates_of_objects([objects], scene, 3, MAP_HW, STRIDE, "ground", attributes=True)
    assert found.attributes[0, :, :3].tolist() == [[1.0, 0.0, 0.5]] * 5
    features = compute_relation_features(found, scene, torch.tensor([SIZE_HW]), "ground").unary[
        0, :, NUM_UNARY_FEATURES:
    ]
    torch.testing.assert_close(features[:, 3:6], torch.tensor([[1.0, -1.0, 0.0]]).expand(5, 3))
    torch.manual_seed(0)
    where = (scene, 3, MAP_HW, STRIDE, "ground")
    drawn = torch.cat(
        [candidates_of_objects([objects], *where, attributes=True, jitter=1.0).attributes for _ in range(40)]
    )
    right = torch.stack([drawn[..., 0] > 0.5, drawn[..., 1] < 0.5]).float().mean()
    assert 0.88 < right < 0.98 and 0.4 < drawn[..., 2].mean() < 0.6


def test_jitter_is_of_the_size_of_a_detector_s_error(world):
    objects, scene = objects_of(world), scene_of(world.camera_list[:1])

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return candidates_of_objects([objects], scene, 3, MAP_HW, STRIDE, "ground", jitter=1.0, generator=generator)

    assert torch.equal(draw(0).rows, draw(0).rows) and not torch.equal(draw(0).rows, draw(1).rows)
    found = torch.cat([draw(seed).rows for seed in range(60)])
    depth = (found[..., :3] - scene.cameras.center).norm(dim=-1)
    wanted = (objects.rows[:, :3] - scene.cameras.center).norm(dim=-1)
    assert (depth / wanted).log().std() == pytest.approx(0.05, rel=0.2)
    matches = [match_objects(draw(seed), [objects], 0.4)[0].tolist() for seed in range(5)]
    assert sum(row == list(range(5)) for row in matches) >= 3


def test_candidates_are_matched_one_to_one(world):
    objects = objects_of(world)
    found = candidates_of_objects([objects], scene_of(world.camera_list[:1]), 3, MAP_HW, STRIDE, "ground")
    found = found.take(torch.tensor([[3, 0, 0, 2, 4]]))
    found.boxes_xyxy[0, 2] += 1.0  # the second copy of object 0 is worse than the first
    found.boxes_xyxy[0, 3] += 5000.0
    found.valid[0, 4] = False
    assert match_objects(found, [objects])[0].tolist() == [3, 0, -1, -1, -1]
    objects.ignore[3] = True
    assert match_objects(found, [objects])[0].tolist() == [-2, 0, -1, -1, -1]
    none = Objects(*(part[:0] for part in vars(objects).values()))
    assert (match_objects(found, [none]) == -1).all()


def test_parts_follow_their_objects():
    """Of candidates that are object 1, nothing, and object 0; a sentence without form is known nothing of."""
    parts = torch.full((len(PARTS), 2), int(MAYBE), dtype=torch.int8)
    parts[PARTS.index("class")] = torch.tensor([int(YES), int(NO)])
    truths = part_targets(torch.tensor([[1, -1, 0]]), [parts, None], torch.tensor([0, 0]))
    assert truths[0, :, PARTS.index("class")].tolist() == [NO, MAYBE, YES]
    assert (truths[1] == MAYBE).all() and (truths[0, :, PARTS.index("color")] == MAYBE).all()
