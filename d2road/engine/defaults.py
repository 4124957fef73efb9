"""What every program does around a model: logs, seeds, loading weights, evaluating."""

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import nn

from d2road.checkpoint import Checkpointer
from d2road.config.find import find_config
from d2road.data.class_names import warn_of_unnamed_classes, with_class_names
from d2road.engine.distributed import synchronize_weights
from d2road.utils.errors import is_reported
from d2road.utils.input_files import read_text
from d2road.utils.output_files import atomic_write

logger = logging.getLogger(__name__)


def setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Start the logs (terminal and OUTPUT_DIR/log.txt), write OUTPUT_DIR/config.yaml, seed the random generators.

    Detectron2's default_setup, which it calls, knows the loggers of Detectron2 only; those of this package and of the
    package that defines the meta-architecture join them. An evaluation in the folder of a training leaves the
    training's config.yaml, which belongs to its checkpoints, and writes its own config to config_eval.yaml.
    """
    system = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__.split(".")[0]
    for name in dict.fromkeys(("d2road", system)):
        if name != "detectron2":
            setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name=name)
    # Detectron2 logs the traceback of every exception of a training; a user's mistake is told in a line at the end.
    logging.getLogger("detectron2.engine.train_loop").addFilter(_is_no_user_error)
    if getattr(args, "config_file", ""):  # Detectron2 would copy it into the log, and reads UTF-8 and paths alone
        path = find_config(args.config_file)
        logger.info("Contents of %s:\n%s", path, read_text(path, "config"))
        args = argparse.Namespace(**{**vars(args), "config_file": ""})
    with _kept_config(cfg.OUTPUT_DIR if getattr(args, "eval_only", False) else ""):
        default_setup(cfg, args)
    comm.synchronize()  # what is wrong stands behind the first process's long log of the config, not within it


def _is_no_user_error(record: logging.LogRecord) -> bool:
    """Whether a line of the log is not about an error that its user can put right."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not is_reported(error)


@contextmanager
def _kept_config(folder: str) -> Iterator[None]:
    """What is written to `folder`/config.yaml meanwhile goes to config_eval.yaml, if there is a config.yaml."""
    path = Path(folder, "config.yaml")
    found = read_text(path) if folder and comm.is_main_process() and path.is_file() else None
    yield
    if found is not None:
        os.replace(path, path.with_name("config_eval.yaml"))
        with atomic_write(path, "w") as file:
            file.write(found)


def load_weights(cfg: CfgNode, model: nn.Module, path: str) -> list[str]:
    """Load weights to predict with: of a training checkpoint the averages, if MODEL_EMA.ENABLED and it has them.

    Args:
        cfg: of the model.
        model: filled in place; without `path` all processes take the first one's initial weights.
        path: a file or an address that Detectron2 knows.
    Returns:
        The class names that the file tells; [] if it tells none.
    Raises:
        FileNotFoundError, CheckpointError: there is no such file, it is damaged, or it does not fit the model or its
            MODEL.CLASS_NAMES.
    """
    if not path:
        logger.warning("MODEL.WEIGHTS is empty: predicting with random weights")
    checkpointer = Checkpointer(model, class_names=cfg.MODEL.CLASS_NAMES)
    loaded = checkpointer.load(path, checkpointables=[], require="shapes", use_ema=cfg.MODEL_EMA.ENABLED)
    synchronize_weights(model)
    return loaded.get("class_names", [])


def evaluate(cfg: CfgNode, resume: bool = False) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with `resume` the last checkpoint of OUTPUT_DIR, on DATASETS.TEST.

    Returns:
        {task: {metric: value}}, also written to OUTPUT_DIR/results.json; empty in all processes but the first.
    Raises:
        FileNotFoundError: `resume`, and OUTPUT_DIR has no checkpoint.
    """
    from d2road.engine.trainer import Trainer

    model = Trainer.build_model(cfg)
    path = cfg.MODEL.WEIGHTS
    if resume:
        last = Checkpointer(model, cfg.OUTPUT_DIR).last_intact()
        if last is None:
            raise FileNotFoundError(f"--resume: there is no checkpoint in {cfg.OUTPUT_DIR}; name one in MODEL.WEIGHTS")
        path = str(last)
    named = load_weights(cfg, model, path)
    cfg = with_class_names(cfg, named)
    if not named:
        warn_of_unnamed_classes(cfg, path)
    return Trainer.test(cfg, model)
