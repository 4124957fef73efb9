"""Training batches depend on the seed and the step, and on nothing else."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm

from d2road.config import add_common_config
from d2road.data.build import (
    build_test_loader,
    build_train_loader,
    images_per_micro_batch,
    load_dataset_dicts,
    pins_memory,
)
from d2road.data.samplers import TrainingBatches, sample_seed
from d2road.utils.rng import get_rng_state, preserve_rng, seeded_rng
from tests.factories.tiny_system import make_data, tiny_cfg


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


def batches_of(loader, count):
    return [[(item["file_name"], item["image"]) for item in batch] for batch in islice(iter(loader), count)]


def assert_same_batches(a, b):
    assert [[name for name, _ in batch] for batch in a] == [[name for name, _ in batch] for batch in b]
    assert all(torch.equal(x, y) for p, q in zip(a, b) for (_, x), (_, y) in zip(p, q))


def test_same_batches_whatever_the_workers_and_the_start(data, tmp_path):
    cfg = tiny_cfg(data, tmp_path)
    whole = batches_of(build_train_loader(cfg), 9)
    cfg.DATALOADER.NUM_WORKERS = 2
    np.random.seed(99)  # the state outside must not matter
    assert_same_batches(whole[4:], batches_of(build_train_loader(cfg, start_batch=4), 5))
    sizes = {tuple(image.shape) for batch in whole for _, image in batch}
    assert len(sizes) > 2  # the augmentation is random


def test_loading_leaves_the_random_states_alone(data, tmp_path):
    before = get_rng_state()
    batches_of(build_train_loader(tiny_cfg(data, tmp_path)), 3)
    after = get_rng_state()
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["python"][1], after["python"][1])
    assert torch.equal(before["numpy"][0], after["numpy"][0]) and before["numpy"][1] == after["numpy"][1]


def indices(num_steps, num_images=11, **options):
    batches = TrainingBatches(torch.ones(num_images), seed=3, **options)
    return list(islice(iter(batches), num_steps * options.get("micro_batches_per_step", 1)))


def test_processes_and_micro_batches_share_one_stream():
    alone = indices(6, micro_batch_size=4)
    micro_batches = indices(6, micro_batch_size=2, micro_batches_per_step=2)
    first = indices(6, micro_batch_size=2, rank=0, world_size=2)
    second = indices(6, micro_batch_size=2, rank=1, world_size=2)
    assert [a + b for a, b in zip(micro_batches[::2], micro_batches[1::2])] == alone
    assert [a + b for a, b in zip(first, second)] == alone
    assert indices(2, micro_batch_size=2, rank=1, world_size=2, start_step=4) == second[4:]


def test_each_pass_has_every_image_once_in_a_new_order():
    drawn = [index for batch in indices(11, micro_batch_size=4) for index, _ in batch]  # 4 passes of 11
    passes = [drawn[i : i + 11] for i in range(0, 44, 11)]
    assert all(sorted(one) == list(range(11)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    seeds = [seed for batch in indices(11, micro_batch_size=4) for _, seed in batch]
    assert len(set(seeds)) == 44 and all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_look_independent():
    bits = np.array([[sample_seed(7, p) >> b & 1 for b in range(63)] for p in range(4000)])
    assert np.abs(bits.mean(0) - 0.5).max() < 0.05
    assert np.abs((bits[1:] ^ bits[:-1]).mean(0) - 0.5).max() < 0.05
    assert sample_seed(7, 1) != sample_seed(8, 0)


def test_micro_batches_hold_one_aspect_ratio_and_lose_no_image():
    groups = [0, 1, 1, 0, 0, 0, 1, 0, 0, 0]
    options = {"micro_batch_size": 3, "groups": groups, "seed": 5}
    batches = list(islice(iter(TrainingBatches(torch.ones(10), **options)), 400))
    assert all(len({groups[index] for index, _ in batch}) == 1 for batch in batches)
    counts = Counter(index for batch in batches for index, _ in batch)
    assert min(counts.values()) >= max(counts.values()) - 2  # 120 passes; some images still wait in their group
    later = TrainingBatches(torch.ones(10), start_step=137, **options)
    assert list(islice(iter(later), 20)) == batches[137:157]


def test_repeat_factors_are_met_on_average():
    dicts = [{"annotations": [{"category_id": int(i == 0)}]} for i in range(10)]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dicts, 0.625)
    assert factors[0] == pytest.approx(2.5) and factors[1] == 1
    batches = islice(iter(TrainingBatches(factors, micro_batch_size=23, seed=1)), 300)  # 600 passes of 11.5
    counts = Counter(index for batch in batches for index, _ in batch)
    assert counts[0] / counts[1] == pytest.approx(2.5, rel=0.03)


def test_samplers_by_name(data, tmp_path):
    cfg = tiny_cfg(data, tmp_path, "DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler")
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.5
    seen = {name for batch in batches_of(build_train_loader(cfg), 12) for name, _ in batch}
    assert len(seen) == 11  # of 22
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    assert len(batches_of(build_train_loader(cfg), 1)[0]) == 4
    cfg.DATALOADER.SAMPLER_TRAIN = "Best"
    with pytest.raises(ValueError, match="'Best', expected TrainingSampler"):
        build_train_loader(cfg)


def test_evaluation_shares_are_consecutive_and_complete(data, tmp_path, monkeypatch):
    cfg = tiny_cfg(data, tmp_path)
    names = [item["file_name"] for (item,) in build_test_loader(cfg, cfg.DATASETS.TEST[0])]
    shares = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares += [item["file_name"] for (item,) in build_test_loader(cfg, cfg.DATASETS.TEST[0])]
    assert shares == names and len(names) == 7


def test_a_batch_that_cannot_be_divided(data, tmp_path):
    cfg = tiny_cfg(data, tmp_path, "SOLVER.IMS_PER_BATCH", 6, "SOLVER.GRAD_ACCUM_STEPS", 2)
    assert images_per_micro_batch(cfg, 3) == 1
    with pytest.raises(ValueError, match=r"6 cannot be divided into 2 process.*multiple of 4"):
        images_per_micro_batch(cfg, 2)


def add(name, dicts, **metadata):
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).set(**metadata)


def record(category, **more):
    annotation = {"bbox": [0, 0, 4, 4], "bbox_mode": 0, "category_id": category, **more}
    return {"file_name": "a.png", "width": 8, "height": 8, "image_id": 1, "annotations": [annotation]}


def test_bad_data_sets():
    with pytest.raises(ValueError, match="no data set is named"):
        load_dataset_dicts([], False)
    with pytest.raises(ValueError, match="tiny_unknown"):
        load_dataset_dicts(["tiny_unknown"], False)
    add("tiny_empty", [])
    with pytest.raises(ValueError, match="'tiny_empty' is empty"):
        load_dataset_dicts(["tiny_empty"], False)
    add("tiny_odd", [record(2)], thing_classes=["car", "van"])
    with pytest.raises(ValueError, match=r"a.png: category id 2 is not one of the 2 of data set 'tiny_odd'"):
        load_dataset_dicts(["tiny_odd"], False)
    add("tiny_crowd", [record(0, iscrowd=1)], thing_classes=["car", "van"])
    assert len(load_dataset_dicts(["tiny_crowd"], False)) == 1
    with pytest.raises(ValueError, match="none of the 1 images of tiny_crowd has an object"):
        load_dataset_dicts(["tiny_crowd"], True)
    add("tiny_other", [record(0)], thing_classes=["van", "bus"])
    with pytest.raises(ValueError, match=r"'tiny_other' has the classes \[van, bus\].* \[car, van\]: \[bus\] is not"):
        load_dataset_dicts(["tiny_crowd", "tiny_other"], False)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [([], "there is no annotation"), ([record(0, iscrowd=1)["annotations"][0]] * 2, "all 2 annotations are crowds")],
)
def test_training_data_without_any_object_is_refused_before_the_first_step(data, tmp_path, annotations, said):
    add("tiny_nothing", [{**record(0), "annotations": annotations}], thing_classes=["car"])
    for drops_empty in (True, False):
        keys = ("DATASETS.TRAIN", ("tiny_nothing",), "DATALOADER.FILTER_EMPTY_ANNOTATIONS", drops_empty)
        with pytest.raises(ValueError, match=f"none of the 1 images of tiny_nothing has an object to train on: {said}"):
            build_train_loader(tiny_cfg(data, tmp_path, *keys))


def test_a_mapper_that_returns_nothing_names_the_image(data, tmp_path):
    loader = build_train_loader(tiny_cfg(data, tmp_path), mapper=lambda record: None)
    with pytest.raises(ValueError, match=r"\d{3}.png: the mapper returned nothing"):
        next(iter(loader))


def test_borrowed_random_numbers_are_given_back():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with seeded_rng(2**62 + 1):
        a = (torch.rand(1).item(), np.random.rand())
    first = torch.rand(1)
    with preserve_rng():
        torch.rand(5)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    with seeded_rng(2**62 + 1):
        assert a == (torch.rand(1).item(), np.random.rand())


def test_memory_is_pinned_for_cuda_alone(monkeypatch):
    cfg = get_cfg()
    add_common_config(cfg)
    cfg.MODEL.DEVICE = "cuda"
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pins_memory(cfg) == there
    cfg.DATALOADER.PIN_MEMORY = False
    assert not pins_memory(cfg)
    cfg.DATALOADER.PIN_MEMORY, cfg.MODEL.DEVICE = True, "cpu"
    assert not pins_memory(cfg)
