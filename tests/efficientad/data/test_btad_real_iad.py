"""BTAD and Real-IAD as their releases lie on disk: which images are good, which masks belong to which."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from d2road.data import register_by_name
from d2road.utils.errors import DataError


def get(name: str) -> list[dict]:
    register_by_name(name)
    return DatasetCatalog.get(name)


def draw(path, value=90, mask=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 20) if mask else (16, 20, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def btad(tmp_path):
    """Images are .bmp, masks .png, as in category 01; 03 has masks that are .bmp."""
    for category, suffix in (("01", "png"), ("03", "bmp")):
        for i in range(11):
            draw(tmp_path / f"btad/{category}/train/ok/{i:04d}.bmp")
        draw(tmp_path / f"btad/{category}/test/ok/0000.bmp")
        for i in range(2):
            draw(tmp_path / f"btad/{category}/test/ko/{i:04d}.bmp")
            draw(tmp_path / f"btad/{category}/ground_truth/ko/{i:04d}.{suffix}", 255, mask=True)
    return tmp_path / "btad"


def entry(path, kind, mask=None):
    return {"category": "pcb", "anomaly_class": kind, "image_path": path, "mask_path": mask}


@pytest.fixture
def real_iad(tmp_path):
    """Two resolutions, twelve good images, a defect, and a view of a defective part that shows nothing."""
    root = tmp_path / "real_iad"
    train = [f"OK/S{i:04d}/pcb_{i:04d}_OK_C1.jpg" for i in range(12)]
    test = [entry("OK/S0100/pcb_0100_OK_C1.jpg", "OK"), entry("NG/QS/S0001/pcb_0001_NG_QS_C2.jpg", "OK")]
    test.append(entry("NG/QS/S0001/pcb_0001_NG_QS_C1.jpg", "QS", "NG/QS/S0001/pcb_0001_NG_QS_C1.png"))
    for resolution in ("realiad_256", "realiad_1024"):
        for name in (*train, *(row["image_path"] for row in test)):
            draw(root / resolution / "pcb" / name)
        draw(root / resolution / "pcb" / test[-1]["mask_path"], 255, mask=True)
    content = {"meta": {"prefix": "pcb/", "normal_class": "OK", "pre_transform": True}}
    content |= {"train": [entry(path, "OK") for path in train], "test": test}
    lists = root / "realiad_jsons" / "realiad_jsons"
    lists.mkdir(parents=True)
    (lists / "pcb.json").write_text(json.dumps(content))
    return root


def test_btad_by_name_and_by_path(btad, monkeypatch):
    assert [len(get(f"btad:{btad}/01{s}")) for s in ("", ":validation", ":test")] == [9, 2, 3]
    test = get(f"btad:{btad}/03:test")
    assert [(d["label"], d["defect"], len(d["mask_files"])) for d in test] == [
        (0, "good", 0),
        (1, "ko", 1),
        (1, "ko", 1),
    ]
    assert [d["mask_files"][0].rpartition("/")[2] for d in test[1:]] == ["0000.bmp", "0001.bmp"]
    monkeypatch.setenv("DETECTRON2_DATASETS", str(btad.parent))
    register_by_name("btad/01/test")
    assert len(DatasetCatalog.get("btad/01/test")) == 3
    with pytest.raises(DataError, match="category '04' does not exist"):
        register_by_name("btad/04")
    (btad / "01/ground_truth/ko/0001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"0001.bmp has no mask: expected .*ground_truth/ko/0001.png"):
        DatasetCatalog.get(f"btad:{btad}/01:test")


def test_real_iad_goes_by_its_list_and_reads_the_finest_images(real_iad, monkeypatch):
    assert [len(get(f"real_iad:{real_iad}:pcb{s}")) for s in ("", ":validation", ":test")] == [10, 2, 3]
    test = get(f"real_iad:{real_iad}:pcb:test")
    assert all("/realiad_1024/pcb/" in d["file_name"] for d in test)
    kinds = {d["file_name"].rpartition("/")[2]: d["defect"] for d in test}
    assert kinds == {"pcb_0100_OK_C1.jpg": "good", "pcb_0001_NG_QS_C2.jpg": "good", "pcb_0001_NG_QS_C1.jpg": "QS"}
    (bad,) = [d for d in test if d["label"]]
    assert bad["mask_files"] == [bad["file_name"].replace(".jpg", ".png")]
    monkeypatch.setenv("DETECTRON2_DATASETS", str(real_iad.parent))
    register_by_name("real_iad/pcb")
    assert len(DatasetCatalog.get("real_iad/pcb")) == 10


def test_what_is_wrong_with_real_iad_is_told(real_iad):
    path = real_iad / "realiad_jsons/realiad_jsons/pcb.json"
    good = json.loads(path.read_text())
    with pytest.raises(DataError, match="did you mean 'pcb'"):
        get(f"real_iad:{real_iad}:pcbs")
    for change, message in (
        ({"train": [*good["train"], entry("x.jpg", "AK")]}, "1 images to train on are not good, of 13"),
        ({"train": 3}, "expected a list"),
        ({"meta": {"prefix": "pcb/"}}, "lacks 'normal_class'"),
        ({"train": [{"anomaly_class": "OK"}]}, "lacks 'image_path'"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(DataError, match=message):
            get(f"real_iad:{real_iad}:pcb")
    path.write_text(json.dumps(good | {"test": [entry("NG/none.jpg", "AK", "NG/none.png")]}))
    with pytest.raises(FileNotFoundError, match=r"though .*pcb\.json lists it"):
        get(f"real_iad:{real_iad}:pcb:test")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="it comes with Real-IAD"):
        get(f"real_iad:{real_iad}:pcb")
