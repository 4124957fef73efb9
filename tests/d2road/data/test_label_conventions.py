"""Labels of another convention than their format's are found by what cannot be, or by how they project; real ones pass.

Changed are the words of KITTI's own label files, as no public file with such mistakes is small enough to be kept.
"""

import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2road.data.box3d_conventions import angle_problem, side_problem, unit_problem
from d2road.data.datasets.kitti import load_kitti
from d2road.data.datasets.rope3d import load_rope3d
from d2road.data.input_checks import collected_defects
from d2road.utils.errors import DataError
from d2road.utils.image_io import image_size

H, W, L, X, Y, Z, RY = range(8, 15)


def warnings_of(caplog):
    """What was logged as a warning or worse; other tests may have switched less on."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def real_kitti(shared_dir, tmp_path) -> Path:
    """The 14 frames of KITTI, to be changed; images are links."""
    source, root = shared_dir / "data" / "kitti" / "training", tmp_path / "kitti"
    for folder in ("calib", "label_2"):
        shutil.copytree(source / folder, root / folder)
    (root / "image_2").symlink_to(source / "image_2")
    return root


def change(root: Path, function) -> None:
    """Apply `function(numbers)` to the numbers 1 to 14 of each row; of DontCare rows to the 2D box."""
    for path in (root / "label_2").glob("*.txt"):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            numbers = np.array([0.0, *map(float, row[1:])])
            function(numbers)
            changed = slice(4, 8) if row[0] == "DontCare" else slice(1, 15)
            row[changed] = [f"{v:.6g}" for v in numbers[changed]]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))


def resize_images(root: Path, size) -> None:
    """Blank images of `size(width, height)` in place of the links: their content is not looked at."""
    sizes = {path.name: image_size(path) for path in (root / "image_2").iterdir()}
    (root / "image_2").unlink()
    (root / "image_2").mkdir()
    for name, wh in sizes.items():
        Image.new("1", size(*wh)).save(root / "image_2" / name)


def reorder(*order: int):
    def function(row):
        row[H : L + 1] = row[list(order)]

    return function


def times(factor: float, *columns: int):
    def function(row):
        row[list(columns)] *= factor

    return function


def at_centre(row) -> None:
    row[Y] -= row[H] / 2


def quarter_turn(row) -> None:
    row[RY] += math.pi / 2


def lidar_yaw(row) -> None:
    row[RY] = -row[RY] - math.pi / 2


def converted_dair(row) -> None:
    """As DAIR-V2X's converter writes: height length width, and minus the yaw of the LiDAR's frame."""
    reorder(H, L, W)(row)
    row[RY] += math.pi / 2


def test_real_data_follow_their_conventions(shared_dir, caplog):
    with collected_defects() as defects:
        load_kitti(str(shared_dir / "data" / "kitti"))
        load_rope3d(str(shared_dir / "data" / "rope3d_sample"), "val")
    assert not defects and not warnings_of(caplog)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (reorder(L, W, H), "dimensions were length width height"),
        (reorder(W, H, L), "dimensions were width height length"),
        (reorder(L, H, W), "dimensions were length height width"),
        (times(100, H, W, L), "dimensions were in centimetres"),
        (times(1000, H, W, L), "dimensions were in millimetres"),
        (times(1000, X, Y, Z), "locations were in millimetres"),
        (times(100, H, W, L, X, Y, Z), "longer than 3.* m: dimensions and locations are in metres"),
        (at_centre, "y were that of the centre of the box"),
        (times(180 / math.pi, RY), "rotation_y of .* beyond 12.6.*radians"),
        (times(180 / math.pi, 3), "alpha of .* beyond 12.6.*radians"),
        (quarter_turn, "rotation_y were a quarter turn off"),
        (lidar_yaw, "yaw in a LiDAR frame|a quarter turn off"),
        (reorder(H, L, W), "dimensions were height length width"),
        (converted_dair, "vehicles are wider than long .*exchange width and length and subtract pi / 2"),
    ],
)
def test_another_convention_is_named_with_its_cure(real_kitti, function, message):
    change(real_kitti, function)
    with pytest.raises(DataError, match=message):
        load_kitti(str(real_kitti))


@pytest.mark.parametrize("function", [times(-1, RY), converted_dair])
def test_headings_that_contradict_alpha_are_warned_of(real_kitti, caplog, function):
    """Cars along the road project alike whichever way rotation_y turns; their alpha tells."""
    change(real_kitti, function)
    with collected_defects():
        load_kitti(str(real_kitti))
    assert "alpha is not rotation_y - atan2(x, z)" in caplog.text


def test_an_alpha_that_nobody_filled_in_is_not_taken_for_a_contradiction(real_kitti, caplog):
    change(real_kitti, lambda row: row.__setitem__(3, 0))
    load_kitti(str(real_kitti))
    assert not warnings_of(caplog)


@pytest.mark.parametrize("scale", [0.5, 0.75, 2])
def test_labels_and_images_of_another_resolution_than_the_camera(real_kitti, scale):
    """Found by the labels also where the principal point alone would be within reason."""
    resize_images(real_kitti, lambda width, height: (round(scale * width), round(scale * height)))
    change(real_kitti, times(scale, 4, 5, 6, 7))
    with pytest.raises(DataError, match=rf"scale the first two rows of its projection by {scale:g}") as error:
        load_kitti(str(real_kitti))
    assert f"an image {1 / scale:.3g} times as large" in str(error.value)


def test_a_camera_of_another_resolution_is_refused_without_labels(real_kitti):
    shutil.rmtree(real_kitti / "label_2")
    for path in (real_kitti / "calib").glob("*.txt"):
        words = next(line for line in path.read_text().splitlines() if line.startswith("P2:")).split()
        path.write_text(" ".join(["P2:", *(str(2 * float(w)) for w in words[1:9]), *words[9:]]))
    with pytest.raises(DataError, match=r"14 cameras are not those of their images, e.g. .*/calib/.*by 0.5"):
        load_kitti(str(real_kitti))


def test_a_crop_whose_labels_fit_is_no_mistake(real_kitti, caplog):
    """The right 542 columns of the images, with cameras moved: the principal point lies outside."""
    resize_images(real_kitti, lambda width, height: (width - 700, height))
    for path in (real_kitti / "calib").glob("*.txt"):
        lines = path.read_text().splitlines()
        P = np.array(next(x for x in lines if x.startswith("P2:")).split()[1:], dtype=float).reshape(3, 4)
        P[0] -= 700 * P[2]
        path.write_text("P2: " + " ".join(map(str, P.ravel())))
    change(real_kitti, lambda row: row.__setitem__([4, 6], row[[4, 6]] - 700))
    with collected_defects() as defects:
        records = load_kitti(str(real_kitti))
    assert sum(len(r["annotations"]) for r in records) > 10
    assert not [d for d in defects if "cameras" in d or "projected" in d]
    assert "may not be those" not in caplog.text


def test_few_objects_and_own_types_decide_nothing():
    """A machine that is wider than long is no mistake, and neither are four cars."""
    wide = np.tile([1.5, 4.2, 1.8], (30, 1))
    assert not side_problem(np.array(["paver"] * 30), wide)
    assert not side_problem(np.array(["Car"] * 4), wide[:4])
    assert side_problem(np.array(["Car"] * 30), wide)
    assert not unit_problem(np.array(["ship"] * 30), 10 * wide)
    assert not angle_problem(np.array([4.66, -6.2, 9.4, -10.0] * 10), "rotation_y")  # not wrapped, and unknown
