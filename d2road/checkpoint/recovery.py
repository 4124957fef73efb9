"""Which checkpoint to go on from: the newest one that is whole and of the run that is to go on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2road.checkpoint.weights import load_weights_file
from d2road.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

Admit = Callable[[dict[str, Any]], str | None]  # content of a checkpoint -> why it is another run's, None if it is not


def newest_intact(files: Sequence[Path], admit: Admit | None, failed: Mapping[str, str]) -> Path | None:
    """The first of `files` that is undamaged and admitted; None if there is none and none is damaged.

    Args:
        files: the newest first.
        failed: why files, by name, are known to be damaged.
    Raises:
        CheckpointError: some are damaged, and no other is admitted.
        D2RoadError: of `admit`.
    """
    broken, of_others = dict(failed), 0
    for path in files:
        if path.name in broken:
            continue
        content, damage = read_intact(path)
        if damage is not None:
            logger.warning("Checkpoint %s is damaged (%s); trying the one before it", path, damage)
            broken[path.name] = damage
            continue
        reason = admit(content) if admit else None
        if reason is None:
            return path
        of_others += 1
        logger.warning("Checkpoint %s is passed over: %s", path, reason)
    if not broken:
        return None
    more = f"; {of_others} others are another run's" if of_others else ""
    raise CheckpointError(
        f"no checkpoint in {files[0].parent} can be read: {', '.join(broken)} are damaged "
        f"({next(iter(broken.values()))}){more}. Remove them and start anew without --resume, or copy an intact one "
        "there"
    )


def read_intact(path: Path) -> tuple[dict[str, Any], str | None]:
    """The content of a training checkpoint, and None; or what is wrong with it: whatever reading it brings about."""
    try:
        content = load_weights_file(path)  # which compares the checksums
    except Exception as error:
        return {}, f"{type(error).__name__}: {error}"
    if not isinstance(content.get("model"), dict):
        return {}, "it holds no model"
    return content, None
