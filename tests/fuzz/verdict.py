"""What is wrong with the way in which a verb took a damaged file, if anything."""

import json
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from tests.fuzz.fork_server import Outcome

IMAGES = {".png", ".jpg", ".jpeg"}
FAULTS = ("traceback", "hang", "nameless refusal", "partial output", "exit code")


def find_fault(outcome: Outcome, known: Iterable[str], outputs: Iterable[Path], code: int = 0) -> str:
    """The kind of a fault, one of FAULTS, or "".

    Args:
        outcome: of the run.
        known: names of the files that the run reads, and the folders of those that were changed; a refusal must name
            one of them.
        outputs: files that the run has written.
        code: exit code with the files as they were; where that is a refusal, it need not name them.
    """
    if outcome.code is None:
        return "hang"
    if "Traceback (most recent call last)" in outcome.said:
        return "traceback"
    if outcome.code not in (0, 1, 2):
        return "exit code"
    refused = outcome.code == 2
    if refused and code != 2 and not any(name in outcome.said for name in known):
        return "nameless refusal"
    if not refused and any(line.startswith("error:") for line in outcome.said.splitlines()) and outcome.code == 0:
        return "exit code"
    return "partial output" if any(is_partial(path) for path in outputs) else ""


def is_partial(path: Path) -> bool:
    """Whether an output is half of one: a temporary file, JSON or an image that cannot be read."""
    if path.suffix == ".tmp":
        return True
    try:
        if path.suffix == ".json":
            text = path.read_text("utf-8")
            for part in text.splitlines() if path.name == "metrics.json" else [text]:  # a value a line
                json.loads(part, parse_constant=_no_constant)
        elif path.suffix in IMAGES:
            with Image.open(path) as image:
                image.load()
    except (OSError, ValueError):
        return True
    return False


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
