import numpy as np
import pytest
from PIL import Image

from d2road.evaluation.rope_files import read_rope_folders
from d2road.evaluation.rope_roi import RoiMasks, inside_roi

ROW = "car 0 0 0.1 100 300 200 360 1.5 1.8 4.4 2 3 30 0.2"
CALIB = "P2: 2000.5 0 960 0 0 2050 540 0 0 0 1 0\n"


@pytest.fixture
def folders(tmp_path):
    """Two frames; the second has no objects."""
    content = {
        "label_2": (f"{ROW}\nvan{ROW[3:]}\ntrafficcone{ROW[3:]}\nunknown_movable{ROW[3:]}\n", ""),
        "pred": (f"{ROW} 0.5\n\nbarrow{ROW[3:]} 0.4\n", ""),
        "calib": (CALIB, CALIB),
        "denorm": ("0.01 -0.98 -0.2 6\n",) * 2,
    }
    for name, texts in content.items():
        (tmp_path / name).mkdir()
        for frame, text in zip(("a", "b"), texts):
            (tmp_path / name / f"{frame}.txt").write_text(text)
    return tmp_path


def read(root, **options):
    return read_rope_folders(*(root / name for name in ("label_2", "pred", "calib", "denorm")), **options)


def test_types_merge_and_others_drop(folders):
    truth, predictions, cameras = read(folders)
    assert truth.type.tolist() == ["car", "car"] and predictions.type.tolist() == ["car", "pedestrian"]
    assert predictions.scores.tolist() == [0.5, 0.4]
    assert len(cameras) == 2 and cameras[0].height_m == pytest.approx(6, abs=0.01)


def test_a_split_names_the_frames(folders):
    (folders / "val.txt").write_text("b\n")
    truth, predictions, cameras = read(folders, split=folders / "val.txt")
    assert len(truth) == len(predictions) == 0 and len(cameras) == 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("calib/b.txt", None, r"calibration file .*calib/b.txt does not exist"),
        ("denorm/b.txt", None, r"ground plane file .*denorm/b.txt does not exist"),
        ("pred/b.txt", None, r"prediction file .*pred/b.txt does not exist.*--missing-as-empty"),
        ("calib/a.txt", "P2: 1 2 3\n", r"calib/a.txt line 1: P2 has 3 numbers, expected 12"),
        ("denorm/a.txt", "0 -1 0\n", r"denorm/a.txt line 1: .* has 3 numbers, expected 4"),
        ("pred/a.txt", f"{ROW} 0.5\ncar 1 2\n", r"pred/a.txt line 2 has 3 fields, expected 16"),
        ("pred/a.txt", f"{ROW}\n", r"pred/a.txt line 1 .*score"),
        ("label_2/a.txt", ROW.replace(" 30 ", " nan "), r"label_2/a.txt line 1: .*finite"),
        ("pred/a.txt", f"{ROW} 0.5\n\nbike{ROW[3:]} 0.5\n", r"pred/a.txt line 3 has type 'bike', expected one of car"),
    ],
)
def test_wrong_files_are_named(folders, file, text, message):
    if text is None:
        (folders / file).unlink()
    else:
        (folders / file).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(folders)


def test_missing_predictions_can_be_none(folders):
    (folders / "pred" / "a.txt").unlink()
    assert len(read(folders, missing_as_empty=True)[1]) == 0


def test_predictions_without_labels_are_counted(folders, caplog):
    (folders / "pred" / "c.txt").write_text("")
    read(folders)
    assert "1 prediction files" in caplog.text


def test_no_labels(folders, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"holds no \.txt"):
        read_rope_folders(empty, folders / "pred", folders / "calib", folders / "denorm")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_rope_folders(tmp_path / "nowhere", folders / "pred", folders / "calib", folders / "denorm")


@pytest.fixture
def masks(tmp_path):
    """White on the left half, for fx 2000.5."""
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((1080, 1920, 3), dtype=np.uint8)
    mask[:, :960] = 255
    Image.fromarray(mask).save(folder / "2000.5_camera3_mask.png")
    return folder


def test_roi(folders, masks):
    right = ROW.replace("100 300 200 360", "1000 300 1100 360")
    high = ROW.replace("100 300 200 360", "100 100 200 299")
    for name, score in (("label_2", ""), ("pred", " 0.5")):
        (folders / name / "a.txt").write_text("".join(f"{row}{score}\n" for row in (right, ROW, high)))
    truth, predictions, _ = read(folders, roi=masks)
    assert truth.boxes_xyxy.tolist() == predictions.boxes_xyxy.tolist() == [[100, 300, 200, 360]]


def test_roi_borders():
    mask = np.ones((300, 400), dtype=bool)
    centers = np.array([[0, 200], [0, 199.9], [399.9, 299.9], [400, 250], [10, 300], [-1, 250]])
    boxes = np.hstack([centers - 5, centers + 5])
    assert inside_roi(boxes, mask).tolist() == [True, False, True, False, False, False]
    assert inside_roi(np.zeros((0, 4)), mask).tolist() == []


def test_masks_that_are_not_there(folders, masks, tmp_path):
    with pytest.raises(FileNotFoundError, match="no masks"):
        RoiMasks(tmp_path / "calib")
    (folders / "calib" / "a.txt").write_text(CALIB.replace("2000.5", "1999"))
    with pytest.raises(FileNotFoundError, match=r"no mask .*1999\*.jpg for .*a.txt"):
        read(folders, roi=masks)
