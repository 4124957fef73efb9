"""EfficientAD's mapper: the published preprocessing, and images of every kind."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

import efficientad.data.mapper  # noqa: F401  registers it
from d2road.data import MAPPER_REGISTRY, build_test_loader, build_train_loader
from d2road.utils.image_io import open_rgb
from d2road.utils.rng import seeded_rng
from efficientad import add_efficientad_config
from efficientad.data.mapper import JITTERS


def make_mapper(is_train=True, **keys):
    cfg = get_cfg()
    add_efficientad_config(cfg)
    cfg.INPUT.IMAGE_SIZE = keys.pop("size", (32, 40))
    cfg.DATASETS.PENALTY_IMAGES = keys.pop("penalty_images", "")
    for key, value in keys.items():
        cfg.INPUT[key] = value
    return MAPPER_REGISTRY.get("EfficientADMapper")(cfg, is_train)


@pytest.fixture
def record(tmp_path):
    """A colourful image of 100x75, smooth enough that nothing clips."""
    noise = Image.fromarray(np.random.default_rng(0).integers(60, 190, (10, 12, 3), dtype=np.uint8))
    path = tmp_path / "image.png"
    noise.resize((100, 75), Image.Resampling.BICUBIC).save(path)
    return {"file_name": str(path), "image_id": 3, "height": 75, "width": 100, "mask_files": ["m.png"]}


def save(tmp_path, array, suffix="png"):
    path = tmp_path / f"kind.{suffix}"
    Image.fromarray(array).save(path)
    return {"file_name": str(path), "image_id": 0}


def test_resize_is_torchvisions_on_pil_images(record):
    before = {**record}
    mapped = make_mapper(False)(record)
    expected = pil_to_tensor(v2.Resize((32, 40))(Image.open(record["file_name"]))).float()
    assert torch.equal(mapped["image"], expected)
    assert mapped["image"].dtype == torch.float32 and mapped["image"].is_contiguous()
    assert (mapped["height"], mapped["width"], mapped["mask_files"]) == (75, 100, ["m.png"])
    assert "image_ae" not in mapped and record == before


def test_own_size(record):
    assert make_mapper(False, size=(0, 0))(record)["image"].shape == (3, 75, 100)


def test_real_image(shared_dir):
    path = shared_dir / "data/mvtec_screw_256/screw/train/good"
    first = sorted(path.iterdir())[0]
    # The images are grey: saturation would change nothing.
    mapper = make_mapper(size=(256, 256), AUTOENCODER_JITTER=("brightness",), AUTOENCODER_JITTER_RANGE=(0.8, 0.8))
    mapped = mapper({"file_name": str(first), "image_id": 0})
    assert torch.equal(mapped["image"], pil_to_tensor(Image.open(first).convert("RGB")).float())
    assert (mapped["image_ae"] - mapped["image"]).abs().max() > 0


def test_symmetries_are_the_eight_of_a_square_in_training_alone(record):
    keys = {"size": (24, 24), "AUTOENCODER_JITTER": (), "SYMMETRIES": True}
    image = make_mapper(False, **keys)(record)["image"]
    turned = [torch.rot90(side, quarter, (1, 2)) for side in (image, image.flip(2)) for quarter in range(4)]
    mapper, seen = make_mapper(True, **keys), set()
    with seeded_rng(0):
        for _ in range(80):
            mapped = mapper(record)
            seen.add(next(number for number, other in enumerate(turned) if torch.equal(mapped["image"], other)))
            assert mapped["image_ae"] is mapped["image"]
    assert seen == set(range(8))


@pytest.mark.parametrize("kind", JITTERS)
def test_jitter_is_torchvisions(record, kind):
    mapper = make_mapper(AUTOENCODER_JITTER=(kind,), AUTOENCODER_JITTER_RANGE=(0.8, 0.8))
    mapped = mapper(record)
    adjust = getattr(v2.functional, f"adjust_{kind}")
    full = Image.open(record["file_name"])
    after = pil_to_tensor(adjust(full.resize((40, 32), Image.Resampling.BILINEAR), 0.8)).float()
    assert torch.equal(mapped["image_ae"], after)
    # As published the full image is jittered and then resized: the same but for rounding.
    published = pil_to_tensor(adjust(full, 0.8).resize((40, 32), Image.Resampling.BILINEAR)).float()
    assert (mapped["image_ae"] - published).abs().max() <= 2


def test_draws_are_the_samples_own(record):
    mapper = make_mapper()
    with seeded_rng(7):
        first = mapper(record)["image_ae"]
    with seeded_rng(7):
        again = mapper(record)["image_ae"]
    others = []
    for seed in range(12):
        with seeded_rng(seed):
            others.append(mapper(record)["image_ae"])
    assert torch.equal(first, again)
    assert len({tuple(o.mean((1, 2)).tolist()) for o in others}) > 8
    assert max((o - first).abs().max() for o in others) < 80


def test_loaders_give_the_same_batches_with_any_number_of_workers(shared_dir):
    root = shared_dir / "data/mvtec_screw_256/screw"
    cfg = get_cfg()
    add_efficientad_config(cfg)
    cfg.merge_from_list(["INPUT.IMAGE_SIZE", (64, 64), "INPUT.MAPPER", "EfficientADMapper", "SEED", 5])
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 2, "DATASETS.TRAIN", (f"mvtec:{root}",)])
    batches = []
    for workers in (0, 1):
        cfg.DATALOADER.NUM_WORKERS = workers
        batches.append(next(iter(build_train_loader(cfg))))
    for first, second in zip(*batches):
        assert first["file_name"] == second["file_name"] and "train/good" in first["file_name"]
        assert torch.equal(first["image_ae"], second["image_ae"]) and first["image_ae"].shape == (3, 64, 64)
    cfg.DATALOADER.NUM_WORKERS = 0
    tested = next(iter(build_test_loader(cfg, f"mvtec:{root}:test")))[0]
    assert tested["image"].shape == (3, 64, 64) and (tested["height"], tested["width"]) == (256, 256)
    assert {"label", "defect", "mask_files"} <= set(tested) and "image_ae" not in tested


def test_no_jitter(record):
    mapped = make_mapper(AUTOENCODER_JITTER=())(record)
    assert torch.equal(mapped["image"], mapped["image_ae"])


def test_penalty_images(record, tmp_path):
    deep = tmp_path / "others/deep"
    deep.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(deep / f"{i}.jpg")
    mapper = make_mapper(penalty_images=str(tmp_path / "others"))
    published = v2.Compose([v2.Resize((64, 80)), v2.CenterCrop((32, 40))])
    wanted = [pil_to_tensor(published(Image.open(deep / f"{i}.jpg"))).float() for i in range(3)]
    grey = [v2.functional.rgb_to_grayscale(w, 3) for w in wanted]
    seen = set()
    for seed in range(40):
        with seeded_rng(seed):
            got = mapper(record)["image_penalty"]
        near = [float((got - w).abs().max()) for w in (*wanted, *grey)]
        assert min(near) <= 1.01
        seen.add(int(np.argmin(near)))
    assert seen == set(range(6))
    assert "image_penalty" not in make_mapper(False, penalty_images=str(tmp_path / "others"))(record)


def test_penalty_folder_missing_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none does not exist; '' trains without them"):
        make_mapper(penalty_images=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="holds no image"):
        make_mapper(penalty_images=str(tmp_path))


def test_grey_palette_and_transparent_images(tmp_path):
    colour = np.random.default_rng(2).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    mapper = make_mapper(False, size=(0, 0))
    grey = mapper(save(tmp_path, colour[:, :, 0]))["image"]
    assert torch.equal(grey, torch.from_numpy(colour[:, :, 0].copy()).float().expand(3, 8, 9))
    palette = Image.fromarray(colour // 128 * 128).quantize(8)
    palette.save(tmp_path / "palette.png")
    got = mapper({"file_name": str(tmp_path / "palette.png")})
    assert torch.equal(got["image"], pil_to_tensor(palette.convert("RGB")).float())
    assert (got["height"], got["width"]) == (8, 9)
    alpha = np.dstack([colour, np.full((8, 9), 40, np.uint8)])
    assert torch.equal(mapper(save(tmp_path, alpha))["image"], torch.from_numpy(colour).permute(2, 0, 1).float())


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_span_the_same_range(tmp_path, suffix):
    values = np.array([[0, 257, 65535], [32896, 128, 129]], dtype=np.uint16)
    image = make_mapper(False, size=(0, 0))(save(tmp_path, values, suffix))["image"]
    assert image[0].tolist() == image[2].tolist() == [[0, 1, 255], [128, 0, 1]]


def test_float_images_are_zero_to_one_and_finite(tmp_path):
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    record = save(tmp_path, values, "tiff")
    assert np.asarray(open_rgb(record["file_name"]))[0, :, 1].tolist() == [0, 128, 255]
    save(tmp_path, values * 200, "tiff")
    with pytest.raises(ValueError, match=r"has values from 0 to 200, expected 0 to 1"):
        make_mapper(False)(record)
    values[0, 1] = np.nan
    save(tmp_path, values, "tiff")
    with pytest.raises(ValueError, match=r"kind\.tiff has 1 pixel\(s\) that are NaN or infinite"):
        make_mapper(False)(record)


def test_black_image_stays_black(tmp_path):
    mapped = make_mapper()(save(tmp_path, np.zeros((50, 50, 3), np.uint8)))
    assert not mapped["image"].any() and not mapped["image_ae"].any()


def test_missing_broken_or_changed_image(record):
    with pytest.raises(ValueError, match=r"image\.png \(image_id 3\) is 100x75, its data set says 101x75"):
        make_mapper()({**record, "width": 101})
    with pytest.raises(FileNotFoundError, match=r"\.none \(image_id 3\) does not exist"):
        make_mapper()({**record, "file_name": record["file_name"] + ".none"})
    with open(record["file_name"], "r+b") as file:
        file.truncate(500)
    with pytest.raises(ValueError, match="cannot be read as an image"):
        make_mapper()(record)
