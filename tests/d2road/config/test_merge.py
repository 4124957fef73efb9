"""Merging: as Detectron2 does it, with all mistakes at once."""

from pathlib import Path

import detectron2
import pytest

from d2road.config import make_cfg
from d2road.config.merge import UNSAFE_YAML, merge_file
from d2road.utils.errors import ConfigError, DataError

STOCK = Path(detectron2.__file__).parent / "model_zoo" / "configs"


@pytest.mark.parametrize(
    "name",
    [
        "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
        "LVISv0.5-InstanceSegmentation/mask_rcnn_R_101_FPN_1x.yaml",
        "Misc/scratch_mask_rcnn_R_50_FPN_9x_gn.yaml",
    ],
)
def test_stock_files_merge_as_detectron2_merges_them(name):
    if not STOCK.is_dir():
        pytest.skip("this Detectron2 carries no config files")
    ours, theirs = make_cfg(), make_cfg()
    merge_file(ours, str(STOCK / name))
    theirs.merge_from_file(str(STOCK / name))
    assert ours == theirs
    assert ours != make_cfg()


def test_code_in_a_file_runs_only_when_allowed(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_text('SOLVER:\n  MAX_ITER: !!python/object/apply:eval ["6 * 7"]\n')
    with pytest.raises(ValueError, match=f"asks to run Python code, which is refused .*{UNSAFE_YAML}=1"):
        make_cfg(str(path))
    monkeypatch.setenv(UNSAFE_YAML, "1")
    assert make_cfg(str(path)).SOLVER.MAX_ITER == 42


def test_base_files_and_pairs_win_in_turn(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER:\n  BASE_LR: 1e-5\n  MAX_ITER: 7\n  STEPS: (3, 5)\n")
    (tmp_path / "c.yaml").write_text("_BASE_: base.yaml\nSOLVER: {MAX_ITER: 8}\n")
    cfg = make_cfg(str(tmp_path / "c.yaml"), ["SOLVER.STEPS", "[4]", "SOLVER.BASE_LR", "1", "OUTPUT_DIR", "a b"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.OUTPUT_DIR) == (1.0, 8, (4,), "a b")
    assert type(cfg.SOLVER.BASE_LR) is float


def test_one_data_set_needs_no_parentheses():
    opts = ["DATASETS.TRAIN", "coco:a.json:b", "DATASETS.TEST", "('coco:c.json:d',)"]
    cfg = make_cfg(opts=opts)
    assert cfg.DATASETS.TRAIN == ("coco:a.json:b",)
    assert cfg.DATASETS.TEST == ("coco:c.json:d",)


def test_all_mistakes_of_a_file_at_once(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "SOLVER: {BASE_LRR: 1.0, MAX_ITER: many}\n"
        "MODEL:\n  DiffusionDett: {NUM_CLASSES: 3}\n  DiffusionDet: {NUM_PROPOSAL: 3, SAMPLE_STEP: 4}\n"
        "  RPN: 5\nTEST: {AUG: {MIN_SIZE: [3]}}\nDATASETS: {TRAIN: 3}\n"
    )
    with pytest.raises(ValueError, match="7 problems in") as error:
        make_cfg(str(path))
    text = str(error.value)
    assert str(path) in text
    for expected in (
        "SOLVER.BASE_LRR is not a key; the nearest is SOLVER.BASE_LR\n",
        "SOLVER.MAX_ITER is 'many' (str), expected int as in its default 40000",
        "MODEL.DiffusionDett is not a key; the nearest is MODEL.DiffusionDet\n",
        "MODEL.DiffusionDet.NUM_PROPOSAL is not a key; the nearest is MODEL.DiffusionDet.NUM_PROPOSALS\n",
        "MODEL.RPN is a group of keys (HEAD_NAME, ",
        "TEST.AUG.MIN_SIZE is not a key; the nearest is TEST.AUG.MIN_SIZES\n",
        'DATASETS.TRAIN is 3 (int), expected tuple, such as "(a, b)" or "(a,)"',
    ):
        assert expected in text


def test_a_key_in_the_wrong_group_is_found():
    with pytest.raises(ValueError, match=r"MODEL\.BASE_LR is not a key; the nearest is SOLVER\.BASE_LR"):
        make_cfg(opts=["MODEL.BASE_LR", "1"])
    # Detectron2 would take this slip for a file of 2019 and convert it.
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHT is not a key; the nearest is MODEL\.WEIGHTS"):
        make_cfg(opts=["MODEL.WEIGHT", "x"])


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.BASE_LR"], "got 1 words, expected an even number"),
        (["SOLVER.BASE_LR", "1", "--resume", "x"], "--resume after the first KEY VALUE pair"),
        (["SOLVER.BASE_LR.X", "1"], r"SOLVER\.BASE_LR\.X is not a key"),
    ],
)
def test_wrong_pairs(opts, message):
    with pytest.raises(ValueError, match=message):
        make_cfg(opts=opts)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("_BASE_: nowhere.yaml\n", FileNotFoundError, r"its _BASE_ file .*nowhere\.yaml does not exist"),
        ("a: [1\n", ValueError, "is not YAML"),
        ("", ValueError, "is no config file"),
        ("just words", ValueError, "is no config file"),
        ("VERSION: 1\n", ValueError, "VERSION is 1, expected 2"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, error, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        make_cfg(str(path))
    with pytest.raises(FileNotFoundError, match=r"config file .*none\.yaml does not exist"):
        make_cfg(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_in_any_encoding_with_a_mark_is_read_and_so_is_its_base(tmp_path, encoding):
    (tmp_path / "base.yaml").write_bytes("MODEL: {WEIGHTS: Straße.pth}\n".encode(encoding))
    (tmp_path / "c.yaml").write_bytes("_BASE_: base.yaml\nSEED: 7\n".encode(encoding))
    cfg = make_cfg(str(tmp_path / "c.yaml"))
    assert (cfg.MODEL.WEIGHTS, cfg.SEED) == ("Straße.pth", 7)


def test_a_config_that_no_reader_can_take_is_refused_by_name(tmp_path):
    path = tmp_path / "odd.yaml"
    contents = {
        "MODEL: {WEIGHTS: Straße}".encode("latin-1"): "no UTF-8 text",
        b"SEED: 1\0": "zero byte",
        b"_BASE_: odd.yaml\n": "in a circle",
        b"a: " + b"[" * 1200 + b"]" * 1200: "nested too deep",
        b"a: 2001-99-99\n": "is no config file",
        b"a: &a {b: *a}\n? [1, 2]\n: x\n": r"odd\.yaml",
        b"{[1]: 2}": r"odd\.yaml",
    }
    for content, said in contents.items():
        path.write_bytes(content)
        with pytest.raises(
            ConfigError if "UTF" not in said and "zero" not in said else DataError, match=said
        ) as caught:
            make_cfg(str(path))
        assert "odd.yaml" in str(caught.value)


@pytest.mark.parametrize("value", ["[" * 3000, "(" * 3000 + ")" * 3000, "9" * 5000])
def test_a_value_that_cannot_be_parsed_is_refused_in_a_short_message(value):
    with pytest.raises(ConfigError) as caught:
        make_cfg(opts=["SOLVER.MAX_ITER", value])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["SOLVER.STEPS", ({"a": 1}, 2)], r"SOLVER.STEPS is .* holds an object"),
        (["MODEL.PIXEL_MEAN", "(1, 'x', 2)"], r"MODEL.PIXEL_MEAN is .* holds the text 'x'"),
        (["MODEL.PIXEL_STD", "[1, None, 2]"], r"MODEL.PIXEL_STD is .* holds null"),
        (["MODEL.RPN.IN_FEATURES", "['p2', 3]"], r"IN_FEATURES is .* holds the number 3"),
        (["MODEL.DEVICE", "''"], r"MODEL.DEVICE is '', expected cuda"),
        (["MODEL.DEVICE", "gpu"], r"MODEL.DEVICE is 'gpu', expected cuda"),
    ],
)
def test_elements_and_devices_of_another_kind_are_refused(pairs, said):
    with pytest.raises(ConfigError, match=said):
        make_cfg(opts=pairs)
