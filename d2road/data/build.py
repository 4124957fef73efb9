"""Data loaders for training and evaluation.

Training is deterministic and can start at any step: `sampler.py` decides in the main process which images come and
with which seed, and every image is read and augmented under its own seed, whatever worker does it. So a run gives the
same batches with 0, 2 or 8 workers, and a resumed run continues with exactly the batches that were to come.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import cv2
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog
from detectron2.data.build import (
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
    print_instances_class_histogram,
)
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, get_worker_info

from d2road.data.class_names import renumbered
from d2road.data.dataset_formats import register_by_name
from d2road.data.mapper_registry import ChecksTrainingData, build_mapper
from d2road.data.samplers import TrainingBatches, aspect_ratio_groups
from d2road.utils.errors import ConfigError, DataError, picklable_errors
from d2road.utils.rng import seeded_rng

logger = logging.getLogger(__name__)
Mapper = Callable[[dict], Any]
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def build_train_loader(
    cfg: CfgNode, start_batch: int = 0, *, mapper: Mapper | None = None, seed: int | None = None
) -> DataLoader:
    """An endless loader over DATASETS.TRAIN. Each item is a list of mapped dicts, one micro-batch of an optimizer step.

    A step of SOLVER.IMS_PER_BATCH images is divided among the processes and SOLVER.GRAD_ACCUM_STEPS micro-batches.

    Args:
        cfg: reads DATASETS, DATALOADER, SOLVER.IMS_PER_BATCH, SOLVER.GRAD_ACCUM_STEPS, SEED, INPUT.
        start_batch: optimizer steps already done, which are skipped without reading their images.
        mapper: makes a model input from a dataset dict; that of the config if None.
        seed: of order and augmentation; if None that of the config, or a drawn one if it has none.
    Raises:
        ValueError: the batch cannot be divided; a data set is unknown, empty or inconsistent, or none has an object;
            unknown sampler.
    """
    micro_batch_size = images_per_micro_batch(cfg, comm.get_world_size())
    min_keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0
    dicts = load_dataset_dicts(
        cfg.DATASETS.TRAIN, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS, min_keypoints, cfg.MODEL.CLASS_NAMES
    )
    _need_objects(cfg.DATASETS.TRAIN, dicts)
    mapper = mapper or build_mapper(cfg, True)
    if isinstance(mapper, ChecksTrainingData):
        mapper.check_training_data(", ".join(cfg.DATASETS.TRAIN), dicts)
    if seed is None:
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    batches = TrainingBatches(
        repeat_factors(cfg, dicts, seed),
        micro_batch_size=micro_batch_size,
        micro_batches_per_step=cfg.SOLVER.GRAD_ACCUM_STEPS,
        seed=seed,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        groups=_groups(dicts) if cfg.DATALOADER.ASPECT_RATIO_GROUPING else None,
        start_step=start_batch,
    )
    # A generator of its own: the loader must not use up the numbers of the training.
    generator = torch.Generator()
    generator.manual_seed(seed)
    return StoppableLoader(
        SeededMap(DatasetFromList(dicts, copy=True), mapper),
        batch_sampler=batches,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        worker_init_fn=_init_worker,
        generator=generator,
        pin_memory=pins_memory(cfg),
    )


def pins_memory(cfg: CfgNode) -> bool:
    """Whether loaders put batches into pinned memory."""
    return cfg.DATALOADER.PIN_MEMORY and cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()


def build_test_loader(cfg: CfgNode, dataset_name: str, *, mapper: Mapper | None = None) -> DataLoader:
    """A loader over one data set, one image at a time; several processes take consecutive shares of it.

    Every image comes exactly once, in the order of the data set, so that the predictions gathered from several
    processes are those of one.

    Raises:
        ValueError: the data set is unknown or empty.
    """
    dicts = load_dataset_dicts([dataset_name], filter_empty=False, class_names=cfg.MODEL.CLASS_NAMES)
    generator = torch.Generator()
    generator.manual_seed(0)
    data = _NumberedMap(DatasetFromList(dicts, copy=True), mapper or build_mapper(cfg, False))
    return StoppableLoader(
        data,
        sampler=InferenceSampler(len(dicts)),
        batch_size=1,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        worker_init_fn=_init_worker,
        generator=generator,
        pin_memory=pins_memory(cfg),
    )


def images_per_micro_batch(cfg: CfgNode, world_size: int) -> int:
    """Images that one process handles at once: IMS_PER_BATCH / (processes * GRAD_ACCUM_STEPS).

    Raises:
        ConfigError: it is not a whole number.
    """
    total, micro_batches = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.GRAD_ACCUM_STEPS
    if micro_batches < 1 or total < 1 or total % (world_size * micro_batches):
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {total} cannot be divided into {world_size} process(es) times "
            f"SOLVER.GRAD_ACCUM_STEPS {micro_batches}: make it a multiple of {world_size * max(micro_batches, 1)}"
        )
    return total // (world_size * micro_batches)


def load_dataset_dicts(
    names: Sequence[str], filter_empty: bool, min_keypoints: int = 0, class_names: Sequence[str] = ()
) -> list[dict]:
    """The dataset dicts of registered data sets (or of names that say where the data is), one after the other.

    Args:
        class_names: of the model, whose numbers the classes get, see `class_names.renumbered`; those of the first data
            set if empty.
    Raises:
        ValueError: no name, an unknown name, an empty data set, a class that the model does not have, a category id out
            of range, or no image with an object although `filter_empty` asks for one.
    """
    if not names:
        raise ConfigError("no data set is named: set DATASETS.TRAIN or DATASETS.TEST, e.g. to ('toy_roadside_train',)")
    dicts: list[dict] = []
    for name in names:
        register_by_name(name)
        part = DatasetCatalog.get(name)
        if len(part) == 0:
            raise DataError(f"data set '{name}' is empty: it has no image")
        _check_categories(name, part)
        class_names = list(class_names) or MetadataCatalog.get(names[0]).get("thing_classes") or ()
        dicts.extend(renumbered(name, part, class_names))
    if "annotations" in dicts[0]:
        dicts = _filter(names, dicts, filter_empty, min_keypoints, class_names)
    return dicts


def _filter(
    names: Sequence[str], dicts: list[dict], filter_empty: bool, min_keypoints: int, class_names: Sequence[str]
) -> list[dict]:
    if filter_empty:
        kept = filter_images_with_only_crowd_annotations(dicts)
        if not kept:
            raise DataError(_without_objects(names, dicts))
        dicts = kept
    if min_keypoints > 0:
        dicts = filter_images_with_few_keypoints(dicts, min_keypoints)
    if len(class_names):
        print_instances_class_histogram(dicts, list(class_names))
    return dicts


def _need_objects(names: Sequence[str], dicts: list[dict]) -> None:
    """Refuse annotated data from which nothing can be learned: without any object, or of crowds alone."""
    annotated = [d["annotations"] for d in dicts if "annotations" in d]
    if annotated and all(a.get("iscrowd", 0) for annotations in annotated for a in annotations):
        raise DataError(_without_objects(names, dicts))


def _without_objects(names: Sequence[str], dicts: list[dict]) -> str:
    crowds = sum(len(d.get("annotations", ())) for d in dicts)
    why = f"all {crowds} annotations are crowds or ignored" if crowds else "there is no annotation"
    return (
        f"none of the {len(dicts)} images of {', '.join(names)} has an object to train on: {why}. Is it the right file?"
    )


def _check_categories(name: str, dicts: list[dict]) -> None:
    classes = MetadataCatalog.get(name).get("thing_classes")
    if not classes:
        return
    for record in dicts:
        for annotation in record.get("annotations", ()):
            if not 0 <= annotation["category_id"] < len(classes):
                raise DataError(
                    f"{record['file_name']}: category id {annotation['category_id']} is not one of the {len(classes)} "
                    f"of data set '{name}' (ids count from 0: {', '.join(classes[:5])}{', ...' * (len(classes) > 5)})"
                )


def repeat_factors(cfg: CfgNode, dicts: list[dict], seed: int) -> torch.Tensor:
    """(N,) how often each image comes in one pass, as DATALOADER.SAMPLER_TRAIN says."""
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name == "TrainingSampler":
        return torch.ones(len(dicts))
    if name == "RepeatFactorTrainingSampler":
        return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dicts, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
    if name == "RandomSubsetTrainingSampler":
        kept = int(len(dicts) * cfg.DATALOADER.RANDOM_SUBSET_RATIO)
        generator = torch.Generator()
        generator.manual_seed(seed)
        factors = torch.zeros(len(dicts))
        factors[torch.randperm(len(dicts), generator=generator)[:kept]] = 1
        return factors
    raise ConfigError(
        f"DATALOADER.SAMPLER_TRAIN is '{name}', expected TrainingSampler, RepeatFactorTrainingSampler or "
        "RandomSubsetTrainingSampler"
    )


def _groups(dicts: list[dict]) -> list[int]:
    if any("width" not in d or "height" not in d for d in dicts):
        raise ConfigError(
            "DATALOADER.ASPECT_RATIO_GROUPING needs the width and height of every image, and this data set does not "
            "state them: set it to False"
        )
    return aspect_ratio_groups([d["width"] for d in dicts], [d["height"] for d in dicts]).tolist()


class _MappedDicts(Dataset):
    """Model inputs of dataset dicts, each made with the random generators seeded."""

    def __init__(self, dicts: Sequence[dict], mapper: Mapper):
        self.dicts = dicts
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.dicts)

    def _map(self, index: int, seed: int) -> Any:
        record = self.dicts[index]
        name = record.get("file_name", f"image {index}")
        with seeded_rng(seed), picklable_errors() if get_worker_info() else nullcontext():
            mapped = self.mapper(record)
        if mapped is None:
            raise ValueError(f"{name}: the mapper returned nothing; it must return a model input for every image")
        return mapped


class SeededMap(_MappedDicts):
    """Maps (index, seed) to mapper(dicts[index])."""

    def __getitem__(self, item: tuple[int, int]) -> Any:
        return self._map(*item)


class _NumberedMap(_MappedDicts):
    """The same for evaluation: the index is the seed."""

    def __getitem__(self, index: int) -> Any:
        return self._map(index, index)


class StoppableLoader(DataLoader):
    """A loader whose workers outlive the signals that ask the main process to stop, from their first moment on."""

    def __iter__(self) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # workers inherit it until they ignore them
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_list(batch: list) -> list:
    """Detection inputs stay a list: images differ in size."""
    return batch


def _init_worker(worker_id: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism
    # Ctrl-C reaches all processes of a terminal, and a scheduler's SIGTERM all of a job; the main process decides what
    # happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Linux; it stays blocked, and a thread looks at who sends it
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        threading.Thread(target=_end_if_parent_terminates, args=(os.getppid(),), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _end_if_parent_terminates(parent: int) -> None:
    """End this worker when the main process terminates it, as it does at its own end; others may not."""
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent:
        pass
    os._exit(0)
