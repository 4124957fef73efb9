"""A campaign of fuzzing: many changed inputs in forked children, some as whole processes, and what went wrong."""

import contextlib
import io
import json
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from d2road.utils.progress import format_progress
from tests.factories.verb_inputs import Prepared, VerbInput
from tests.fuzz.fork_server import Outcome, run_forked, run_process
from tests.fuzz.mutations import Draw, mutate
from tests.fuzz.verdict import find_fault

Report = Callable[[], None]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Trial:
    """One changed input and what a verb made of it."""

    verb: str
    change: str
    whole_process: bool
    code: int | None
    seconds: float
    fault: str
    said: str = ""  # the end of what was printed, where something is wrong


class Campaign:
    """Runs trials of some inputs, one after another.

    Args:
        inputs: what to damage.
        work: folder for the files; they must be where they were made, since configs name them by path.
    """

    def __init__(self, inputs: Sequence[VerbInput], work: Path):
        self.inputs, self.work = list(inputs), work
        self.trials: list[Trial] = []
        self.ready: dict[int, Prepared] = {}

    def run(self, count: int, whole_every: int, number: int, report: Report = lambda: None) -> list[Trial]:
        """Make `count` trials; every `whole_every`-th is a process of its own. `number` is the seed."""

        @seed(number)
        @settings(
            max_examples=count, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.data())
        def trials(data: st.DataObject) -> None:
            whole = whole_every > 0 and len(self.trials) % whole_every == whole_every - 1
            self.trials.append(self.try_one(data.draw, whole))
            report()

        trials()
        return self.trials

    def try_one(self, draw: Draw, whole: bool) -> Trial:
        """Change one or two files of an input, run its verb, and judge."""
        number = draw(st.integers(0, len(self.inputs) - 1))
        prepared = self.lay_out(number)
        folder = self.folder(number)
        files = draw(st.lists(st.sampled_from(prepared.files), min_size=1, max_size=2, unique=True))
        before = set(folder.rglob("*"))
        changes = [mutate(draw, path) for path in files]
        log = self.work / "log.txt"
        if whole:
            outcome = run_process(prepared.argv, folder, log, ROOT)
        else:
            outcome = run_forked(prepared.argv, folder, log)
        outputs = [path for path in folder.rglob("*") if path not in before and path.is_file()]
        known = [*(path.name for path in prepared.files), *(str(path.parent) for path in files)]
        fault = find_fault(outcome, known, outputs, self.inputs[number].code)
        return _trial(self.inputs[number], "; ".join(changes), whole, outcome, fault)

    def folder(self, number: int) -> Path:
        """Where the files of an input are."""
        return self.work / f"input{number}"

    def lay_out(self, number: int) -> Prepared:
        """The files of an input as they were made, and no other."""
        folder, kept = self.folder(number), self.work / f"kept{number}"
        if number not in self.ready:
            folder.mkdir()
            with contextlib.redirect_stdout(io.StringIO()):  # of the call before
                self.ready[number] = self.inputs[number].prepare(folder)
            shutil.copytree(folder, kept)
        else:
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
        return self.ready[number]


def _trial(case: VerbInput, change: str, whole: bool, outcome: Outcome, fault: str) -> Trial:
    said = outcome.said[-2500:] if fault else ""
    return Trial(case.verb, f"{case.name}: {change}", whole, outcome.code, round(outcome.seconds, 3), fault, said)


def run_jobs(inputs: Sequence[VerbInput], count: int, jobs: int, whole: int, number: int) -> list[Trial]:
    """A campaign in several processes at once, with a line of progress now and then."""
    context = multiprocessing.get_context("fork")
    done, start = context.Value("i", 0), time.monotonic()
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as name:
        workers = []
        for job in range(jobs):
            share = count // jobs + (job < count % jobs)
            work = Path(name, f"job{job}")
            work.mkdir()
            arguments = (inputs, work, share, max(count // whole, 1) if whole else 0, number + job, done)
            workers.append(context.Process(target=_job, args=arguments))
            workers[-1].start()
        while any(worker.is_alive() for worker in workers):
            workers[0].join(10) if workers[0].is_alive() else time.sleep(1)
            print(format_progress("inputs", done.value, count, time.monotonic() - start), flush=True)
        for job, worker in enumerate(workers):
            if worker.exitcode:
                raise RuntimeError(f"a process of the campaign ended with {worker.exitcode}, see above")
            trials += [Trial(**entry) for entry in json.loads(Path(name, f"job{job}", "trials.json").read_text())]
    return trials


def _job(inputs: Sequence[VerbInput], work: Path, share: int, every: int, number: int, done: Any) -> None:
    def report() -> None:
        with done.get_lock():
            done.value += 1

    trials = Campaign(inputs, work).run(share, every, number, report)
    (work / "trials.json").write_text(json.dumps([asdict(trial) for trial in trials]))


def count_faults(trials: Sequence[Trial]) -> dict[str, Counter]:
    """Counts by verb: trials, how they ended, and faults by kind."""
    table: dict[str, Counter] = {}
    for trial in trials:
        row = table.setdefault(trial.verb, Counter())
        row["inputs"] += 1
        row["whole processes"] += trial.whole_process
        row[{0: "result", 1: "told", 2: "refused"}.get(trial.code, "other")] += 1
        if trial.fault:
            row[trial.fault] += 1
    return table
