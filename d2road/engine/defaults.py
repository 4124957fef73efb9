"""What every program does around a model: logs, seeds, loading weights, evaluating."""

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.checkpoint.weights import RANDOM
from d2road.config.find import find_config
from d2road.data.class_names import warn_of_unnamed_classes, with_class_names
from d2road.data.dataset_formats import register_by_name
from d2road.engine import meta_arch
from d2road.engine.distributed import by_first_process, locked_output, synchronize_weights
from d2road.engine.inference import asks_for_more, ready_for_inference
from d2road.engine.run_identity import RunFolder
from d2road.model_zoo import require_shipped
from d2road.utils import console
from d2road.utils.addresses import is_address
from d2road.utils.aliases import present_file
from d2road.utils.allocator import keep_freed_pages
from d2road.utils.errors import ConfigError, D2RoadError, is_reported
from d2road.utils.input_files import read_text
from d2road.utils.output_files import CURES, atomic_write, named_output
from d2road.utils.processor import use_fast_products

logger = logging.getLogger(__name__)


def setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Start the logs (terminal and OUTPUT_DIR/log.txt), write OUTPUT_DIR/config.yaml, seed the random generators.

    What Detectron2's default_setup does, for the loggers of this package and of the package that defines the
    meta-architecture too. The config.yaml of a run belongs to its checkpoints: where there is one, a training replaces
    it only when it begins (see `Trainer.train`), and an evaluation writes its own config to config_eval.yaml.

    Raises:
        OutputError: OUTPUT_DIR cannot be written to, or another run is writing there.
    """
    keep_freed_pages()
    use_fast_products()
    out, evaluates = cfg.OUTPUT_DIR, getattr(args, "eval_only", False)
    with locked_output(out, "evaluation" if evaluates else "training"):
        pass  # before anything is written
    _start_logs(cfg, getattr(args, "verbose", False))
    # Detectron2 logs the traceback of every exception of a training; a user's mistake is told in a line at the end.
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_no_user_error)
    environment = _environment()
    logger.info(
        "Process %d of %d\nEnvironment:\n%s", comm.get_rank(), comm.get_world_size(), environment, extra=console.LONG
    )
    logger.info("Command line: %s", args, extra=console.LONG)
    if getattr(args, "config_file", ""):
        path = find_config(args.config_file)
        logger.info("Config file %s:\n%s", path, read_text(path, "config"), extra=console.LONG)
    logger.info("Running with the config:\n%s", cfg.dump(), extra=console.LONG)
    if out:
        by_first_process(lambda: _write_config(cfg, evaluates))
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())
    if not evaluates:  # where sizes of images vary, it costs more than it gains
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    comm.synchronize()  # what is wrong stands behind the first process's long log of the config, not within it


def _is_no_user_error(record: logging.LogRecord) -> bool:
    """Whether a line of the log is not about an error that its user can put right."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not is_reported(error)


def _environment() -> str:
    """What Detectron2 tells of the machine, without what PyTorch warns of as it is asked where CUDA is installed."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return collect_env_info()
    finally:
        log.setLevel(level)


def _start_logs(cfg: CfgNode, verbose: bool = False) -> None:
    short = console.ShortConsole()
    system = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__.split(".")[0]
    names = dict.fromkeys(("fvcore", "detectron2", "d2road", system))
    for name in names:
        with named_output(Path(cfg.OUTPUT_DIR, "log.txt")):
            log = setup_logger(cfg.OUTPUT_DIR or None, distributed_rank=comm.get_rank(), name=name)
        for handler in log.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream not in (sys.stdout, sys.stderr):
                handler.handleError = partial(_end_log_file, log, handler)  # type: ignore[method-assign]
        if not verbose:
            console.shorten_console(log, short)


def _end_log_file(log: logging.Logger, handler: logging.StreamHandler, record: logging.LogRecord) -> None:
    """Where a log file cannot be written, such as on a full disk, the run goes on without."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
        return
    log.removeHandler(handler)
    stream: Any = handler.stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is in its buffer still
    reason = f"{error.strerror}; {CURES.get(error.errno or 0, '')}".rstrip("; ")
    print(f"warning: {stream.name} is not written any more: {reason}", file=sys.stderr, flush=True)


def _write_config(cfg: CfgNode, evaluates: bool) -> None:
    path = Path(cfg.OUTPUT_DIR, "config.yaml")
    if path.is_file() and not evaluates:
        return
    if path.is_file():
        path = path.with_name("config_eval.yaml")
    with atomic_write(path, "w") as file:
        file.write(cfg.dump())
    logger.info("Config written to %s, all of the log to %s (--verbose shows it here)", path, path.with_name("log.txt"))


def require_weights(path: str) -> None:
    """Say that there are no weights to predict with before a model is built for them.

    Raises:
        ConfigError: `path` is empty.
        FileNotFoundError: there is no such file.
        CheckpointError: the model zoo has no such entry.
    """
    if not path:
        raise ConfigError(
            "MODEL.WEIGHTS is empty, and predicting needs trained weights: name a file with --weights ('random' takes "
            "the model as it was initialised, for comparison)"
        )
    file = present_file(path.partition("?")[0])
    require_shipped(file)
    if path != RANDOM and not is_address(file) and not Path(file).is_file():
        raise FileNotFoundError(f"no weights file {path}: check MODEL.WEIGHTS (paths are relative to where you run)")


def check_start(cfg: CfgNode, eval_only: bool = False, resume: bool = False) -> None:
    """Say that a file is missing that a run starts from, before logs are opened and a model is built.

    Args:
        cfg: of the run.
        eval_only: evaluate instead of train.
        resume: from OUTPUT_DIR, if there is a checkpoint.
    Raises:
        ConfigError, FileNotFoundError: weights to evaluate, weights to start from, test data, or what else this model
            needs.
    """
    known = sorted(set(cfg.DATASETS.TEST) & set(cfg.DATASETS.TRAIN))
    if known:
        logger.warning(
            "DATASETS.TEST names what DATASETS.TRAIN does, %s: results there say how well the model remembers what it "
            "has learned from, not how good it is on other images",
            ", ".join(known),
        )
    if resume and any(Path(cfg.OUTPUT_DIR).glob("model_*.pth")):
        return
    if cfg.MODEL.WEIGHTS or (eval_only and not resume):
        require_weights(cfg.MODEL.WEIGHTS)
    if not eval_only:
        meta_arch.check_training_files(cfg)
        check_test_data(cfg)


def check_test_data(cfg: CfgNode) -> None:
    """Read the test data before a training, which would else miss it when it is over.

    Raises:
        ConfigError: a data set of DATASETS.TEST cannot be read.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # its warnings come with the evaluation
    try:
        for name in cfg.DATASETS.TEST:
            register_by_name(name)
            DatasetCatalog.get(name)
    except (D2RoadError, FileNotFoundError) as error:
        raise ConfigError(
            f'DATASETS.TEST, which the training ends with: {error}. To train without a test: DATASETS.TEST "()"'
        ) from error
    finally:
        logging.disable(before)


def load_weights(cfg: CfgNode, model: nn.Module, path: str) -> list[str]:
    """Load weights to predict with: of a training checkpoint the averages, if MODEL_EMA.ENABLED and it has them.

    Args:
        cfg: of the model.
        model: filled in place; all processes take the first one's weights.
        path: a file or an address that Detectron2 knows; "random" keeps the initial weights.
    Returns:
        The class names that the file tells; [] if it tells none.
    Raises:
        FileNotFoundError, CheckpointError: there is no such file, it is damaged, parameters of the model are not in
            it, or it does not fit MODEL.CLASS_NAMES.
        ConfigError: `path` is empty.
    """
    require_weights(path)
    if path == RANDOM:
        logger.warning("MODEL.WEIGHTS is random: predicting with an untrained model")
        loaded: dict[str, Any] = {}
    else:
        checkpointer = Checkpointer(model, class_names=cfg.MODEL.CLASS_NAMES)
        loaded = checkpointer.load(path, checkpointables=[], require="parameters", use_ema=cfg.MODEL_EMA.ENABLED)
    synchronize_weights(model)
    return loaded.get("class_names", [])


def evaluate(cfg: CfgNode, resume: bool = False) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with `resume` the last checkpoint of the run in OUTPUT_DIR, on DATASETS.TEST.

    Returns:
        {task: {metric: value}}, also written to OUTPUT_DIR/results.json; empty in all processes but the first.
    Raises:
        FileNotFoundError, ConfigError: there are no weights, or `resume`, and the run in OUTPUT_DIR has no checkpoint.
        OutputError: OUTPUT_DIR cannot be written to, or another run is writing there.
    """
    from d2road.engine.trainer import Trainer

    if not resume:
        require_weights(cfg.MODEL.WEIGHTS)
    with locked_output(cfg.OUTPUT_DIR, "evaluation"):
        model = Trainer.build_model(cfg)
        path = cfg.MODEL.WEIGHTS
        if resume:
            last = Checkpointer(model, cfg.OUTPUT_DIR).last_intact(RunFolder(cfg.OUTPUT_DIR).admits)
            if last is None:
                raise FileNotFoundError(
                    f"--resume: there is no checkpoint of the run in {cfg.OUTPUT_DIR}; name one in MODEL.WEIGHTS"
                )
            path = str(last)
        named = load_weights(cfg, model, path)
        cfg = with_class_names(cfg, named)
        if not named:
            warn_of_unnamed_classes(cfg, path)
        if asks_for_more(cfg):
            meta_arch.require_calibration(model)
            model = ready_for_inference(cfg, model.eval())
        return Trainer.test(cfg, model)
