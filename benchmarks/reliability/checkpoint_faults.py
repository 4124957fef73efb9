"""Damage to checkpoints: bits, pages, ends. A wrong number must never be loaded."""

import logging
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from benchmarks.reliability.training_program import Program, same
from d2road.checkpoint import Checkpointer, load_weights_file
from d2road.utils.errors import D2RoadError

PAGE = 4096
KINDS = ("bit flipped", "page of zeros", "end missing")


class Part:
    """A part of a checkpoint with nested plain values, as a trainer has."""

    def state_dict(self) -> dict:
        return {"iteration": 9, "hooks": {"name": "ö" * 20, "best": [1.5, None, True]}, "rng": torch.arange(99)}

    def load_state_dict(self, state: dict) -> None:
        self.state = {"iteration": state["iteration"], "hooks": state["hooks"], "rng": state["rng"]}


def network(value: float = 0.0) -> nn.Module:
    """A network of some 50 kB whose weights are all `value`."""
    net = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    nn.init.constant_(net[0].weight, value)
    return net


def damaged(content: bytes, kind: str, rng: random.Random) -> bytes:
    """A copy with one fault."""
    if kind == "end missing":
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    if kind == "bit flipped":
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        start = rng.randrange(max(1, len(content) - PAGE))
        changed[start : start + PAGE] = bytes(len(changed[start : start + PAGE]))
    return bytes(changed)


def faults(content: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """Eight bits for each page and end."""
    for number in range(count):
        yield damaged(content, KINDS[0] if number % 10 < 8 else KINDS[number % 2 + 1], rng)


def damaged_checkpoints(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """The newest of two checkpoints is damaged: resumed, and loaded by itself."""
    counts: Counter = Counter()
    place = folder / "damage"
    for value in (1, 2):
        Checkpointer(network(value), str(place), part=Part()).save(f"model_{value:07d}", iteration=value)
    newest = place / "model_0000002.pth"
    whole = newest.read_bytes()
    true = load_weights_file(newest)
    log, level = logging.getLogger("d2road"), logging.getLogger("d2road").level
    log.setLevel(logging.ERROR)  # each damage is told
    try:
        for number, content in enumerate(faults(whole, count, rng)):
            counts["damages"] += 1
            newest.write_bytes(content)
            _resume(place, counts, failures, number)
            try:
                counts["loaded_right" if same(load_weights_file(newest), true) else "loaded_wrong"] += 1
            except D2RoadError:
                counts["refused"] += 1
            except Exception as error:
                counts["load_tracebacks"] += 1
                failures.append(f"damage {number}: loading ends with {type(error).__name__}: {error}")
    finally:
        log.setLevel(level)
    shutil.rmtree(place)
    for key in ("resumed_wrong", "resume_failed", "loaded_wrong", "load_tracebacks"):
        counts.setdefault(key, 0)
    return counts


def _resume(place: Path, counts: Counter, failures: list[str], number: int) -> None:
    net = network()
    part = Part()
    try:
        rest = Checkpointer(net, str(place), part=part).resume_or_load("", resume=True)
    except Exception as error:
        counts["resume_failed"] += 1
        failures.append(f"damage {number}: resuming ends with {type(error).__name__}: {error}")
        return
    right = bool((net[0].weight == rest["iteration"]).all()) and same(part.state, Part().state_dict())
    counts["resumed_from_the_one_before" if rest["iteration"] == 1 else "resumed_unharmed"] += right
    counts["resumed_wrong"] += not right
