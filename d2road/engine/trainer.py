"""The training loop of every system: Detectron2's DefaultTrainer, resumable to the bit."""

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine import hooks as detectron2_hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventStorage, EventWriter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from d2road.checkpoint import Checkpointer
from d2road.config.merge import raise_problems
from d2road.data.build import build_test_loader, build_train_loader, images_per_micro_batch
from d2road.data.class_names import class_name_problems, training_class_names, with_class_names
from d2road.engine import hooks, meta_arch, plots, run_log
from d2road.engine.distributed import (
    distribute,
    locked_output,
    synchronize_weights,
    threads_of_one_process,
    with_seed,
)
from d2road.engine.ema import ModelEma
from d2road.engine.fit_step import FitStep
from d2road.engine.resume_check import SavedRun, check_settings, compare_data
from d2road.engine.resume_state import ResumeState
from d2road.engine.run_identity import RunFolder, RunIdentity
from d2road.engine.solver import build_clipper, build_optimizer
from d2road.engine.stop_signal import StopOnSignal, stoppable
from d2road.engine.train_step import NonFiniteLossError, TrainStep, amp_dtype, describe_non_finite_loss
from d2road.evaluation import build_evaluator, write_results
from d2road.utils.errors import D2RoadError
from d2road.utils.output_files import make_folder
from d2road.utils.rng import preserve_rng

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains what a config describes.

    On a CPU, a run that is killed at any moment and resumed ends with exactly the weights of one that was not: model,
    averages, optimizer, schedule, position in the data and random states of all processes are in its checkpoints.

    What a model may offer beyond Detectron2's contract is in `d2road.engine.meta_arch`.

    Args:
        cfg: with the keys of `add_common_config`. SEED below 0 draws a seed, which is logged and kept on resuming.
    Raises:
        ConfigError: a setting that cannot be; see the builders.
    """

    def __init__(self, cfg: CfgNode):
        TrainerBase.__init__(self)  # DefaultTrainer's own would build another optimizer, loader and DDP
        cfg = with_seed(DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size()))
        cfg = with_class_names(cfg, training_class_names(cfg))
        raise_problems(class_name_problems(cfg, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)), "DATASETS")
        images_per_micro_batch(cfg, comm.get_world_size())  # says early if it cannot be divided
        self.cfg, self.max_iter = cfg, cfg.SOLVER.MAX_ITER
        self.bare_model = self.build_model(cfg)
        self.device = next(self.bare_model.parameters()).device
        self._trainer = self.build_step(cfg, self.bare_model)
        self.scheduler = None if isinstance(self._trainer, FitStep) else self.build_lr_scheduler(cfg, self.optimizer)
        self.ema = None
        self.folder, self.run = RunFolder(cfg.OUTPUT_DIR), RunIdentity()
        kept: dict[str, Any] = {"trainer": weakref.proxy(self), "run": self.run}
        if (ema := cfg.MODEL_EMA).ENABLED:
            self.ema = kept["ema"] = ModelEma(self.bare_model, ema.DECAY, ema.DEVICE, warm_up=ema.YOLOX)
        self.saved: SavedRun | None = None
        keep, class_names = cfg.SOLVER.CHECKPOINTS_TO_KEEP, cfg.MODEL.CLASS_NAMES
        self.checkpointer = Checkpointer(self.bare_model, cfg.OUTPUT_DIR, keep=keep, class_names=class_names, **kept)
        self.resume_state = ResumeState(cfg)
        self.register_hooks(self.build_hooks())

    @property
    def seed(self) -> int:
        """Of this run, or of the one that is resumed."""
        return self.resume_state.seed

    # --- parts ---

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model on its device; several processes start from the weights of the first one."""
        model = build_model(cfg)
        synchronize_weights(model)
        run_log.log_model(model)
        return model

    def build_step(self, cfg: CfgNode, model: nn.Module) -> TrainStep | FitStep:
        """The optimizer step: distribution, precision, accumulation and clipping; or the fit of a model without one."""
        if isinstance(model, meta_arch.FitsWithoutGradients):
            return FitStep(cfg, model)
        dtype = amp_dtype(cfg, self.device)
        return TrainStep(
            distribute(model),
            self.build_optimizer(cfg, model),
            micro_batches=cfg.SOLVER.GRAD_ACCUM_STEPS,
            amp_dtype=dtype,
            scaler=torch.amp.GradScaler(self.device.type) if dtype == torch.float16 else None,
            clip=build_clipper(cfg),
        )

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_batch: int = 0) -> DataLoader:
        return build_train_loader(cfg, start_batch)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        folder = Path(cfg.OUTPUT_DIR) / "inference"
        if len(cfg.DATASETS.TEST) > 1:
            # One folder for each set, so that none overwrites another's predictions; a name may be a path.
            folder /= "".join(c if c.isalnum() or c in "-_." else "_" for c in dataset_name)
        return build_evaluator(cfg, dataset_name, str(folder))

    def build_hooks(self) -> list[HookBase | None]:
        cfg = self.cfg
        if cfg.TEST.PRECISE_BN.ENABLED:
            logger.warning("TEST.PRECISE_BN is ignored: it would use up data and random numbers of the training")
        self.saver = hooks.SaveCheckpoints(cfg.SOLVER.CHECKPOINT_PERIOD)
        self.evaluation = hooks.Evaluate(cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_METRIC, cfg.TEST.BEST_MODE)
        return [
            run_log.ShowProgress() if comm.is_main_process() else None,
            detectron2_hooks.IterationTimer(),
            detectron2_hooks.LRScheduler() if self.scheduler else None,
            hooks.EmaUpdate() if self.ema else None,
            *meta_arch.training_hooks(cfg),
            self.evaluation if cfg.DATASETS.TEST else None,
            self.saver,
            hooks.WriteMetrics(self.build_writers, cfg.OUTPUT_DIR) if comm.is_main_process() else None,
            plots.TrainingPlots(cfg),
            StopOnSignal(),
        ]

    def build_writers(self) -> list[EventWriter]:
        """The log line with ETA, metrics.json, and TensorBoard. A resumed run continues these files."""
        folder = make_folder(self.cfg.OUTPUT_DIR)
        if self.start_iter > 0:
            hooks.trim_metrics(folder / "metrics.json", self.start_iter)
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(str(folder / "metrics.json")),
            TensorboardXWriter(str(folder), purge_step=self.start_iter or None),
        ]

    # --- starting, running ---

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last intact checkpoint of OUTPUT_DIR if `resume`; else start from MODEL.WEIGHTS.

        Only checkpoints of the newest run in the folder are continued, see `run_identity`.

        Raises:
            CheckpointError, FileNotFoundError: see `Checkpointer.resume_or_load`.
            ConfigError: settings that would have no effect on the run that is resumed, see `resume_check`.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume, admit=self._admit)
        self.saved = comm.all_gather(self.saved)[0] if self.resume_state.is_resumed else None
        if self.resume_state.is_resumed:
            self.start_iter = self.iter + 1
        if self.ema and self.ema.updates == 0:  # a new training, or one that had no averages until now
            self.ema.reset(self.bare_model)

    def _admit(self, checkpoint: dict[str, Any]) -> str | None:
        """Why a checkpoint cannot be the one to go on from, see `Checkpointer.last_intact`."""
        reason = self.folder.admits(checkpoint)
        if reason is None and "trainer" not in checkpoint:
            reason = "it holds weights alone; --weights starts a new run from them"
        if reason is None:
            self.saved = SavedRun.of(checkpoint)
            check_settings(self.saved, self.cfg, self.bare_model, self.optimizer)
        return reason

    def train(self) -> dict[str, Any]:
        """Train to SOLVER.MAX_ITER.

        Outputs of an earlier run in OUTPUT_DIR go to `earlier_runs/` in it when a new one starts.

        Returns:
            The results of the last evaluation, {task: {metric: value}}; empty in all processes but the first.
        Raises:
            FloatingPointError: a loss became NaN or infinite. The state is in nan_<iteration>.pth.
            TrainingStopped: by SIGINT or SIGTERM, after saving.
            ConfigError: the run that is resumed had other data.
            OutputError: OUTPUT_DIR cannot be written to, or another run is writing there.
        """
        with locked_output(self.cfg.OUTPUT_DIR, "training"):
            self._load_data()
            if self.start_iter >= self.max_iter:
                self._finish()
            else:
                self.folder.begin(self.run, self.cfg, self.saved)
                TrainerBase.train(self, self.start_iter, self.max_iter)
        results = self.evaluation.results
        if self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(self.cfg, results)
        return results

    def _load_data(self) -> None:
        """The loader, made only now that it is known where in the data to start; of the data that the run had."""
        try:
            self.data_loader = self.build_train_loader(self.cfg, self.resume_state.start_batch(self.start_iter))
        except (D2RoadError, FileNotFoundError) as error:
            if self.start_iter < self.max_iter:
                raise
            logger.warning("Whether DATASETS.TRAIN is still the data of this run cannot be told: %s", error)
            return
        self.run.data = compare_data(self.saved, self.cfg, self.data_loader)

    def _finish(self) -> None:
        logger.info("This training is finished: %d of %d iterations are done", self.start_iter, self.max_iter)
        self.resume_state.start_rng(self.start_iter)  # for the checkpoint, from which a longer run may go on
        last = self.checkpointer.resumed_from
        if last is not None and last.name != "model_final.pth":  # MAX_ITER is what was done, or that one is damaged
            self.folder.begin(self.run, self.cfg, self.saved)
            self.save_checkpoint()
        if self.cfg.DATASETS.TEST:
            with EventStorage(self.start_iter) as self.storage:
                self.evaluation.catch_up()
        if comm.is_main_process() and self.evaluation.results and not (self.folder.path / "results.json").is_file():
            write_results(self.folder.path / "results.json", self.evaluation.results)

    def before_train(self) -> None:
        self.resume_state.start_rng(self.start_iter)
        super().before_train()
        self.resume_state.start_rng(self.start_iter)  # nothing before the first step may shift the random numbers

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        try:
            self._trainer.run_step()
        except NonFiniteLossError as bad:
            self._stop_for_non_finite_loss(bad)

    def _stop_for_non_finite_loss(self, bad: NonFiniteLossError) -> NoReturn:
        """Save the state as it was before this step, with the names of its images, and raise in every process."""
        reports = comm.all_gather({"losses": bad.losses, "batch_files": bad.batch_files})
        state = self.state_dict()
        state["iteration"] -= 1  # this one is not done
        state["data"]["steps"] -= 1
        state["rng"] = comm.all_gather(bad.rng)
        data = {"model": self.bare_model.state_dict(), "trainer": state, "failed_step": reports}
        if self.ema:
            data["ema"] = self.ema.state_dict()
        name = f"nan_{self.iter:07d}"
        self.checkpointer.write(name, data)
        comm.synchronize()  # the first process to leave ends the others: not before the file is written
        file = f"{Path(self.cfg.OUTPUT_DIR) / name}.pth"
        raise FloatingPointError(describe_non_finite_loss(self.iter, file, reports)) from None

    # --- state ---

    def save_checkpoint(self) -> None:
        """Save the state after the present iteration; every process must call it."""
        name = "model_final" if self.iter + 1 >= self.max_iter else f"model_{self.iter:07d}"
        self.checkpointer.save(name, iteration=self.iter)

    def state_dict(self) -> dict:
        """What resuming needs beside model and averages. Gathers from all processes, so all must call it."""
        data: Any = self.data_loader.dataset if self.data_loader is not None else ()
        return {**super().state_dict(), **self.resume_state.state_dict(self.iter, len(data))}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.resume_state.load_state_dict(state, self.iter)
        self.cfg = with_seed(self.cfg, self.seed)

    # --- evaluation ---

    @contextmanager
    def evaluation_weights(self) -> Iterator[nn.Module]:
        """The model with the weights to evaluate: averages if there are any. Leaves no trace in the training."""
        with preserve_rng(), self.ema.applied(self.bare_model) if self.ema else nullcontext():
            synchronize_weights(self.bare_model, buffers_only=True)
            yield self.bare_model

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: list[DatasetEvaluator] | DatasetEvaluator | None = None
    ) -> dict[str, Any]:
        """Evaluate on DATASETS.TEST and write OUTPUT_DIR/results.json.

        Args:
            model: with the weights to evaluate; of a distributed one the module inside is used.
            evaluators: one for each data set; those that fit the data sets if None.
        Returns:
            {task: {metric: value}} for one data set, {data set: {task: ...}} for several; in the first process only.
        Raises:
            EvaluationStopped: a training that is asked to stop while it evaluates; nothing is written.
        """
        model = model.module if isinstance(model, DistributedDataParallel) else model
        if cfg.TEST.AUG.ENABLED:
            model = meta_arch.with_test_time_augmentation(cfg, model)
        with preserve_rng(), threads_of_one_process():
            results = super().test(cfg, model, stoppable(cfg, cls.build_evaluator, evaluators))
        if comm.is_main_process():
            run_log.log_results(results)
            write_results(Path(cfg.OUTPUT_DIR) / "results.json", results)
        plots.plot_evaluation(cfg)
        return results
