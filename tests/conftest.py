"""Fixtures shared by all tests."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

import diffusion_det
import efficientad
import mono3dvg
from tests.factories.warm_process import WarmProcess

# Imported here, so that the data sets that they register are there for all tests, and not gone with the first one.
PROJECTS = (diffusion_det, efficientad, mono3dvg)
REPO = Path(__file__).resolve().parent.parent
# Tests are many small operations: threads would only wait for each other.
torch.set_num_threads(1)
cv2.setNumThreads(0)  # nor has a forked child the threads of its parent


@pytest.fixture(scope="session")
def repo_dir() -> Path:
    """The root of this checkout."""
    return REPO


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """What reference implementations gave on fixed inputs; see its README."""
    return REPO / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with small pieces of real data that may not be shipped; tests that need it skip where it is absent.

    `data/` has kitti, rope3d_sample, coco_subset, mvtec_screw_256, mono3drefer, talk2car, roberta_tokenizer, ngsim_i80
    in the layouts of datasets/README.md; `golden/` what is too large to ship.
    """
    path = Path(os.environ.get("D2ROAD_SHARED", REPO.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"{path} is not there: name a folder with real data in D2ROAD_SHARED")
    return path


@pytest.fixture(scope="session")
def warm_process() -> Iterator[WarmProcess]:
    """Starts programs that use PyTorch and the systems at once; see `tests.factories.warm_process`."""
    with WarmProcess() as warm:
        yield warm


@pytest.fixture(autouse=True)
def _own_data_sets() -> Iterator[None]:
    """Data sets that a test registers are gone after it, so that the next one may have others by the same names."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        if name in MetadataCatalog.list():
            MetadataCatalog.remove(name)


@pytest.fixture(autouse=True)
def _no_dead_log_handlers() -> None:
    """A handler that an earlier test left on its own, closed output would complain in this one."""
    for log in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in list(getattr(log, "handlers", ())):
            if getattr(getattr(handler, "stream", None), "closed", False):
                log.removeHandler(handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with tests marked `slow` first, for no process to wait at the end; skip `gpu` where there is none."""
    first = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in first)
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
