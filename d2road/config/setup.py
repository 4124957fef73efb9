"""From command line to config: one path for every command."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.stored_classes import stored_class_names
from d2road.config.defaults import add_common_config, resolve_device
from d2road.config.merge import merge_file, merge_pairs, raise_problems
from d2road.config.projects import add_all_configs
from d2road.config.validate import dataset_problems, find_problems
from d2road.data.class_names import class_name_problems, training_class_names
from d2road.utils.errors import D2RoadError

Finalizer = Callable[[CfgNode], None]
_FINALIZERS: dict[str, Finalizer] = {}


def register_finalizer(meta_arch: str, fill: Finalizer) -> None:
    """Let `fill(cfg)` derive values, in place, for configs of this META_ARCHITECTURE; the last one given counts.

    It runs once, after all merging and with the data sets registered, before validation.
    """
    _FINALIZERS[meta_arch] = fill


def make_cfg(config_file: str = "", opts: Sequence[str] = ()) -> CfgNode:
    """A config with the keys of Detectron2 and of every system, with a file and pairs merged.

    Neither frozen nor validated. MODEL.DEVICE is what this machine has.

    Args:
        config_file: YAML, "" for none; a path, or a name below `configs/`, see `find_config`.
        opts: KEY, VALUE, KEY, VALUE, ...
    Raises:
        FileNotFoundError, ConfigError: see `merge_file` and `merge_pairs`.
        ImportError: a system cannot be loaded.
    """
    cfg = get_cfg()
    add_common_config(cfg)
    add_all_configs(cfg)
    if config_file:
        merge_file(cfg, config_file)
    merge_pairs(cfg, list(opts or ()))
    cfg.MODEL.DEVICE = resolve_device(cfg.MODEL.DEVICE)
    return cfg


def setup_cfg(args: argparse.Namespace, predicts: bool = False) -> CfgNode:
    """The frozen, complete, validated config of a command.

    MODEL.CLASS_NAMES is that of the weights that the command uses or continues, where they tell it.

    Args:
        args: of `default_argument_parser` or with the same `config_file` and `opts`; with `eval_only` or `resume`
            these tell which weights and which data sets are used.
        predicts: the command uses no data set at all.
    Raises:
        FileNotFoundError, ConfigError: all that is wrong with it; see `make_cfg` and `validate`.
    """
    with _console_log():
        cfg = make_cfg(args.config_file, args.opts)
        problems = dataset_problems(cfg)
        evaluates, resumes = getattr(args, "eval_only", False), getattr(args, "resume", False)
        if not problems:  # class counts come from the data
            problems = finalize(cfg, _weights_in_use(cfg, resumes, evaluates or predicts))
        used = () if predicts else cfg.DATASETS.TEST if evaluates else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
        problems += [] if problems else class_name_problems(cfg, used)
        raise_problems(problems + find_problems(cfg), args.config_file or "the config")
        cfg.freeze()
    return cfg


def _weights_in_use(cfg: CfgNode, resumes: bool, as_they_are: bool) -> str:
    """The file whose class names are those of the model: none of weights that a training only starts from."""
    found = Checkpointer(nn.Identity(), cfg.OUTPUT_DIR).resumable_files() if resumes else []
    named = next((path for path in found if stored_class_names(path)), None)  # the newest may be damaged
    return str(named) if named else cfg.MODEL.WEIGHTS if as_they_are and not found else ""


def finalize(cfg: CfgNode, weights: str = "") -> list[str]:
    """Fill MODEL.CLASS_NAMES and run the finalizer of the meta-architecture, in place; the reason if that failed.

    Args:
        weights: a file that the model is to be used with as it is: its class names come before those of the data.
    """
    fill = _FINALIZERS.get(cfg.MODEL.META_ARCHITECTURE)
    try:
        if not len(cfg.MODEL.CLASS_NAMES):
            named = stored_class_names(weights) if weights else []
            cfg.MODEL.CLASS_NAMES = tuple(named or training_class_names(cfg))
        if fill is not None:
            fill(cfg)
    except (D2RoadError, FileNotFoundError) as error:
        return [str(error)]
    return []


@contextmanager
def _console_log() -> Iterator[None]:
    """Show this project's messages while no logger is set up yet: that needs the config's OUTPUT_DIR.

    What is read of data sets here is told again as they are loaded.
    """
    log = logging.getLogger("d2road")
    if log.hasHandlers() or not comm.is_main_process():
        yield
        return
    handler, level = logging.StreamHandler(sys.stdout), log.level
    handler.addFilter(lambda record: record.levelno > logging.INFO or not record.name.startswith("d2road.data."))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
