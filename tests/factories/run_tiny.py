"""Trains or evaluates the tiny detector as a program of its own: `run_tiny.py --data DIR --output DIR [--resume ...]`.

Prints "ITER n" after each iteration, and "THREADS [...]" at the end. Environment variables: with CUT_SAVE=n, the
checkpoint after iteration n is cut short by the process killing itself in the middle of writing; with SLOW=s, an
iteration takes s seconds more; with SLOW_EVAL=s, each image of an evaluation, after "EVAL" is printed.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import torch
from detectron2.engine.hooks import CallbackHook

from d2road.config import default_argument_parser
from d2road.engine import Trainer, evaluate, launch, setup
from tests.factories.tiny_system import TinyDetector, make_data, tiny_cfg


def cut_save(iteration: int) -> None:
    """Make saving the checkpoint after an iteration kill this process half-way."""
    save = torch.save

    def half(data, file):
        save(data, file)
        if "trainer" in data and data["iteration"] == iteration:
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half


def report(trainer) -> None:
    print(f"ITER {trainer.iter}\n", end="", flush=True)  # at once: several processes print
    time.sleep(float(os.environ.get("SLOW", "0")))


def slow_evaluation(seconds: float) -> None:
    detect = TinyDetector.detect

    def slow(self, *args):
        print("EVAL\n", end="", flush=True)
        time.sleep(seconds)
        return detect(self, *args)

    TinyDetector.detect = slow


def threads() -> list[str]:
    """Names of the threads of this process, of libraries too.

    A thread that was joined is listed for another moment, until the system has put it away: wait for those of gloo.
    """
    end = time.monotonic() + 5.0
    while any("gloo" in name for name in listed_threads()) and time.monotonic() < end:
        time.sleep(0.01)
    return listed_threads()


def listed_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # ended since it was listed
            names.append(Path(task, "comm").read_text().strip())
    return sorted(names)


def main(args) -> None:
    torch.set_num_threads(1)
    cfg = tiny_cfg(make_data(args.data), args.output, *args.opts)
    cfg.freeze()
    setup(cfg, args)
    if "CUT_SAVE" in os.environ:
        cut_save(int(os.environ["CUT_SAVE"]))
    if "SLOW_EVAL" in os.environ:
        slow_evaluation(float(os.environ["SLOW_EVAL"]))
    if args.eval_only:
        evaluate(cfg, resume=args.resume)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.register_hooks([CallbackHook(after_step=report)])
    trainer.train()


if __name__ == "__main__":
    parser = default_argument_parser()
    parser.add_argument("--data", type=Path)
    launch(main, parser.parse_args())
    print(f"THREADS {threads()}\n", end="", flush=True)
