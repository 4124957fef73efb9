"""The toy roadside data: files agree with each other and with the images; runs are repeatable and resumable."""

import hashlib
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO
from scipy.spatial.transform import Rotation
from shapely import LineString, Polygon

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners, project_boxes
from d2road.synthetic.roadside import make_toy_roadside
from d2road.synthetic.roadside.compose import composite, occlusion_order, render_scene, sample_light
from d2road.synthetic.roadside.raster import fixed_point, render_mesh
from d2road.synthetic.roadside.road_users import CLASSES, build_mesh
from d2road.synthetic.roadside.roadside_labels import CATEGORIES, CATEGORY_OF_TYPE, describe_objects
from d2road.synthetic.roadside.roadside_writer import frame_rng
from d2road.synthetic.roadside.street_traffic import Actor, footprints_overlap, sample_street
from d2road.synthetic.roadside.views import HEIGHT, WIDTH, make_view, sample_view

SPLITS = {"train": ("training", 4), "val": ("validation", 2)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A small data set and what its maker returned."""
    root = tmp_path_factory.mktemp("toy") / "set"
    return root, make_toy_roadside(root, seed=5, train=4, val=2, workers=1)


def _digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file() and ".frames" not in p.parts)
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _frames(root):
    for split, (folder, count) in SPLITS.items():
        for i in range(count):
            yield split, root / folder, f"{i:06d}"


def _read_camera(folder, stem):
    words = (folder / "calib" / f"{stem}.txt").read_text().split()
    assert words[0] == "P2:"
    plane = np.array((folder / "denorm" / f"{stem}.txt").read_text().split(), float)
    return Camera(np.array(words[1:], float).reshape(3, 4), plane)


def _read_rows(folder, stem):
    rows = [line.split() for line in (folder / "label_2" / f"{stem}.txt").read_text().splitlines()]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], float).reshape(-1, 14)


def _view():
    return make_view(np.array([[1200.0, 0, 482], [0, 1190.0, 268], [0, 0, 1]]), 6.5, np.deg2rad(14), np.deg2rad(1.2))


def _actor(kind, x, y, heading=np.pi / 2, color="red", hwl=None):
    hwl = np.array(CLASSES[kind].mean_hwl if hwl is None else hwl)
    return Actor(kind, color, hwl, np.array([float(x), float(y)]), heading, 1, "same", "driving", 3)


def test_layout_is_complete(toy):
    root, _ = toy
    for split, (folder, count) in SPLITS.items():
        assert (root / folder / f"{split}.txt").read_text().split() == [f"{i:06d}" for i in range(count)]
        for name in ("image_2", "label_2", "calib", "denorm", "extrinsics"):
            assert len(list((root / folder / name).iterdir())) == count
    for _, folder, stem in _frames(root):
        assert cv2.imread(str(folder / "image_2" / f"{stem}.jpg")).shape == (HEIGHT, WIDTH, 3)


def test_labelled_boxes_are_the_projected_ones_from_the_files_alone(toy):
    root, _ = toy
    seen = 0
    for _, folder, stem in _frames(root):
        camera = _read_camera(folder, stem)
        _, rows = _read_rows(folder, stem)
        corners = box_corners(rows[:, 10:13], rows[:, 7:10], rows[:, 13], camera.ground_rotation())
        boxes, in_front = project_boxes(camera, corners, (WIDTH, HEIGHT))
        assert in_front.all()
        np.testing.assert_allclose(boxes, rows[:, 3:7], atol=0.01)
        # Objects stand on the plane of the denorm file, within the stated range.
        np.testing.assert_allclose(rows[:, 10:13] @ camera.ground[:3] + camera.ground[3], 0, atol=1e-3)
        ranges = np.hypot(rows[:, 10], rows[:, 12])
        assert ((ranges >= 9.99) & (ranges <= 80.01)).all()
        seen += len(rows)
    assert seen > 10


def test_extrinsics_level_the_camera(toy):
    root, _ = toy
    for _, folder, stem in _frames(root):
        transform = yaml.safe_load((folder / "extrinsics" / f"{stem}.yaml").read_text())["transform"]
        camera = _read_camera(folder, stem)
        rotation = Rotation.from_quat([transform["rotation"][k] for k in "xyzw"]).as_matrix()
        np.testing.assert_allclose(rotation @ camera.ground[:3], [0, 0, 1], atol=1e-6)
        assert transform["translation"]["z"] == pytest.approx(camera.height_m, abs=1e-5)


def test_coco_json_agrees_with_the_label_rows(toy, capsys):
    root, _ = toy
    for split, (folder, count) in SPLITS.items():
        coco = COCO(str(root / "annotations" / f"instances_{split}.json"))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == CATEGORIES
        assert len(coco.getImgIds()) == count
        for image in coco.loadImgs(coco.getImgIds()):
            assert (root / image["file_name"]).is_file()
            types, rows = _read_rows(root / folder, f"{image['id']:06d}")
            anns = coco.loadAnns(coco.getAnnIds(image["id"]))
            assert [CATEGORIES[a["category_id"] - 1] for a in anns] == [CATEGORY_OF_TYPE[t] for t in types]
            for ann, row in zip(anns, rows, strict=True):
                x, y, w, h = ann["bbox"]
                np.testing.assert_allclose([x, y, x + w, y + h], row[3:7], atol=1e-3)
                assert ann["iscrowd"] == int(ann["visible"] < 0.15 or ann["truncated"] > 0.7)
                assert ann["visible"] > 0 and ann["occluded"] == row[1] and ann["truncated"] == row[0]


def test_attributes_name_each_label_row(toy):
    root, _ = toy
    for split, (folder, count) in SPLITS.items():
        lines = [json.loads(line) for line in (root / f"attributes_{split}.jsonl").read_text().splitlines()]
        assert len(lines) == count
        for line in lines:
            types, rows = _read_rows(root / folder, f"{line['image_id']:06d}")
            assert [o["label_row"] for o in line["objects"]] == list(range(len(types)))
            for thing, kind, row in zip(line["objects"], types, rows, strict=True):
                assert thing["type"] == kind and thing["color"] in CLASSES[kind].colors
                np.testing.assert_allclose(thing["hwl"], row[7:10])
                assert thing["direction"] in ("toward", "away", "left", "right")


def test_same_files_whatever_the_number_of_workers(toy, tmp_path):
    make_toy_roadside(tmp_path / "again", seed=5, train=4, val=2, workers=2)
    assert _digests(tmp_path / "again") == _digests(toy[0])


def test_a_second_run_renders_only_what_is_missing(toy):
    root, first = toy
    assert first["rendered"] == 6
    before = _digests(root)
    assert make_toy_roadside(root, seed=5, train=4, val=2, workers=1)["rendered"] == 0
    (root / ".frames" / "training" / "000002.json").unlink()
    (root / "training" / "image_2" / "000002.jpg").write_bytes(b"half an image")
    (root / "annotations" / "instances_train.json").unlink()
    assert make_toy_roadside(root, seed=5, train=4, val=2, workers=1)["rendered"] == 1
    assert _digests(root) == before


def test_other_parameters_need_overwrite(tmp_path):
    make_toy_roadside(tmp_path / "a", seed=1, train=2, val=0, workers=1)
    with pytest.raises(ValueError, match=r"seed 1 there, 2 asked for.*--overwrite"):
        make_toy_roadside(tmp_path / "a", seed=2, train=2, val=0, workers=1)
    make_toy_roadside(tmp_path / "a", seed=2, train=1, val=0, workers=1, overwrite=True)
    assert len(list((tmp_path / "a" / "training" / "image_2").iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"train": -1}, "--train is -1"), ({"seed": -3}, "--seed is -3"), ({"train": 0, "val": 0}, "no views")],
)
def test_bad_counts_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        make_toy_roadside(tmp_path / "a", **{"seed": 0, "train": 1, "val": 1, **change})
    assert not (tmp_path / "a").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not made here"):
        make_toy_roadside(tmp_path, train=1, val=0, workers=1, overwrite=True)
    with pytest.raises(ValueError, match="is a file"):
        make_toy_roadside(tmp_path / "notes.txt", train=1, val=0, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_the_command_line_reports_errors_in_a_line(repo_dir, tmp_path):
    command = [sys.executable, "datasets/make_toy_roadside.py", "--out", str(tmp_path / "a"), "--train", "-4"]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True)
    assert (
        done.returncode == 2
        and "--train: '-4' is -4, expected 0 or more" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_cameras_are_as_stated_and_differ_between_splits():
    cameras = {split: [sample_view(frame_rng(0, split, i)) for i in range(150)] for split in SPLITS}
    keys = {split: {(v.camera.P[0, 0], v.height_m) for v in views} for split, views in cameras.items()}
    assert len(keys["train"]) == len(keys["val"]) == 150 and not keys["train"] & keys["val"]
    for view in cameras["train"] + cameras["val"]:
        assert 1000 <= view.camera.P[0, 0] <= 1400 and 1000 <= view.camera.P[1, 1] <= 1400
        assert 5 <= view.height_m <= 8 and abs(np.rad2deg(view.roll_rad)) < 2.5
        for distance, low, high in ((80.0, 10, HEIGHT / 2), (25.0, 10, HEIGHT)):
            pixel, _ = view.camera.project(view.to_camera(np.array([0, distance, 0])))
            assert low < pixel[1] < high


@pytest.mark.parametrize("kind", list(CLASSES))
def test_solids_fill_their_boxes_and_face_outward(kind):
    view, light = _view(), sample_light(np.random.default_rng(0))
    hwl = np.array(CLASSES[kind].mean_hwl)
    for seed in range(4):
        mesh = build_mesh(kind, next(iter(CLASSES[kind].colors)), hwl, seed)
        size = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
        np.testing.assert_allclose(size, hwl[[2, 1, 0]], atol=1e-9)
        np.testing.assert_allclose(mesh.vertices.min(axis=0), [-hwl[2] / 2, -hwl[1] / 2, 0], atol=1e-9)
        position, heading = np.array([1.0, 18.0]), 0.4 + seed * 1.6
        patch = render_mesh(mesh, position, heading, view, light)
        pixels = view.camera.project(view.to_camera(mesh.stand_at(position, heading)))[0]
        outline = np.zeros((HEIGHT, WIDTH), np.uint8)
        for face, count in zip(mesh.faces, mesh.counts):
            cv2.fillConvexPoly(outline, fixed_point(pixels[face[:count]]), 1, cv2.LINE_8, 4)
        drawn = np.zeros((HEIGHT, WIDTH), bool)
        h, w = patch.alpha.shape
        drawn[patch.y0 : patch.y0 + h, patch.x0 : patch.x0 + w] = patch.alpha > 0.5
        # A face that looks inward would be culled and leave a hole.
        assert (drawn & (outline > 0)).sum() / (drawn | (outline > 0)).sum() > (0.8 if kind == "cyclist" else 0.9)
        x1, y1, x2, y2 = *pixels.min(axis=0), *pixels.max(axis=0)
        ys, xs = np.nonzero(drawn)
        np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], [x1, y1, x2, y2], atol=1.6)


def test_occlusion_order_agrees_with_rays():
    rng = np.random.default_rng(0)
    for _ in range(15):
        kept = []
        for _ in range(60):
            kind = ("car", "bus", "pedestrian")[rng.integers(3)]
            actor = _actor(kind, rng.uniform(-15, 15), rng.uniform(12, 60), rng.uniform(0, 2 * np.pi))
            if not any(footprints_overlap(actor.footprint, other) for other in kept):
                kept.append(actor.footprint)
        rank = np.argsort(occlusion_order(kept))
        shapes = [Polygon(f) for f in kept]
        for azimuth in np.linspace(-0.9, 0.9, 90):
            ray = LineString([(0, 0), (100 * np.sin(azimuth), 100 * np.cos(azimuth))])
            hits = [(shape.intersection(ray).distance(Polygon([(0, 0), (1e-9, 0), (0, 1e-9)])), i)
                    for i, shape in enumerate(shapes) if shape.intersection(ray).length > 1e-6]  # fmt: skip
            ranks = [rank[i] for _, i in sorted(hits)]
            assert ranks == sorted(ranks, reverse=True)


def test_visible_share_counts_what_is_covered():
    view, light = _view(), sample_light(np.random.default_rng(0))
    actors = [_actor("pedestrian", 0, 30), _actor("truck", 0, 20), _actor("car", 6, 24)]
    patches = [
        render_mesh(build_mesh(a.kind, a.color_name, a.hwl, 1), a.position, a.heading, view, light) for a in actors
    ]
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    visible = composite(image, patches, occlusion_order([a.footprint for a in actors]))
    assert visible[0] < 0.05 and visible[1] == 1 and visible[2] == 1
    # Alone, the pedestrian is seen whole.
    assert composite(image, patches[:1], [0])[0] == 1


def test_hidden_objects_are_not_labelled_and_an_empty_street_is_fine(monkeypatch):
    monkeypatch.setattr("d2road.synthetic.roadside.compose.sample_props", lambda rng, street: [])
    view, street = _view(), sample_street(np.random.default_rng(2))
    hidden = _actor("pedestrian", 0, 26.0, hwl=(1.6, 0.5, 0.5))
    frame = render_scene(np.random.default_rng(1), view, street, [hidden, _actor("bus", 0, 20)])
    assert [entry["type"] for entry in describe_objects(frame)] == ["bus"]
    empty = render_scene(np.random.default_rng(1), view, street, [])
    assert describe_objects(empty) == [] and empty.image.std() > 5


def test_direction_and_truncation():
    view, street = _view(), sample_street(np.random.default_rng(2))
    headings = {"away": np.pi / 2, "toward": -np.pi / 2, "right": 0.0, "left": np.pi}
    for name, heading in headings.items():
        frame = render_scene(np.random.default_rng(1), view, street, [_actor("car", 0, 25, heading)])
        (entry,) = describe_objects(frame)
        assert entry["direction"] == name and entry["truncated"] == 0
    edge = render_scene(np.random.default_rng(1), view, street, [_actor("car", 10.2, 25, np.pi / 2)])
    (entry,) = describe_objects(edge)
    assert entry["box_xyxy"][2] == WIDTH and 0.1 < entry["truncated"] < 0.9
