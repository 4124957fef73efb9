"""Audit trail of an anomaly detector: who added which good image to it, when and why, and what that changed.

A trail is a text of JSON lines, a record each, that is stored in the checkpoint and never rewritten, only continued:

    {"action": "accept", "id": 3, "time_utc": "2026-05-04T09:12:44+00:00", "by": "m.weber", "reason": "new supplier",
     "file_name": "line2/000815.png", "sha256": "...", "vectors": 1024, "score_before": 4.1, "score_after": 0.0,
     "threshold_before": 3.2, "threshold_after": 3.2, "guarantee": "without guarantee: ..."}

"remove" takes back the image of an id; "calibrate" set the threshold anew by the images of a folder.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from d2road.utils.errors import CheckpointError, ConfigError, DataError
from d2road.utils.values import as_integer, as_number, as_object, as_text, field

ACCEPT, REMOVE, CALIBRATE = "accept", "remove", "calibrate"
ACTIONS = (ACCEPT, REMOVE, CALIBRATE)


@dataclass(frozen=True)
class AuditRecord:
    """One step.

    Attributes:
        action: one of `ACTIONS`.
        id: of the image in this trail, from 1 on, never used twice; 0 for "calibrate".
        time_utc: ISO 8601.
        by, reason: who, and why.
        file_name: as it was given; of "calibrate" the folder.
        sha256: of the decoded pixels, see `pixels_sha256`; of "calibrate" "".
        vectors: of the bank that came or, negative, went; of "calibrate" the number of images.
        score_before, score_after: of the image; None where it was not scored.
        threshold_before, threshold_after: of the model; None where there is none.
        guarantee: what the threshold promises afterwards.
    """

    action: str
    id: int
    time_utc: str
    by: str
    reason: str
    file_name: str
    sha256: str
    vectors: int
    score_before: float | None
    score_after: float | None
    threshold_before: float | None
    threshold_after: float | None
    guarantee: str


class AuditTrail:
    """The records of a model, the oldest first.

    Args:
        records: in order.
    """

    def __init__(self, records: Iterable[AuditRecord] = ()):
        self.records = list(records)

    @classmethod
    def from_text(cls, text: str, source: str) -> "AuditTrail":
        """The trail of JSON lines; `source` is named in messages.

        Raises:
            CheckpointError: it is none.
        """
        try:
            lines = [line for line in text.split("\n") if line]
            return cls(_record(json.loads(line), f"line {number}") for number, line in enumerate(lines, 1))
        except (json.JSONDecodeError, DataError) as error:
            raise CheckpointError(f"{source}: its audit trail is damaged ({error}); take the file of before") from error

    def to_text(self) -> str:
        """JSON lines, each with its end."""
        return "".join(json.dumps(dataclasses.asdict(record)) + "\n" for record in self.records)

    def accepted(self) -> dict[int, AuditRecord]:
        """What was accepted and not taken back, by id."""
        found: dict[int, AuditRecord] = {}
        for record in self.records:
            if record.action == ACCEPT:
                found[record.id] = record
            elif record.action == REMOVE:
                found.pop(record.id, None)
        return found

    def ever_accepted(self) -> dict[str, AuditRecord]:
        """Everything that was ever accepted, by the checksum of its pixels; also what was taken back."""
        return {record.sha256: record for record in self.records if record.action == ACCEPT}

    def next_id(self) -> int:
        """An id that was never used."""
        return max((record.id for record in self.records), default=0) + 1

    def require(self, image_id: int) -> AuditRecord:
        """The accepted image of an id.

        Raises:
            ConfigError: there is none.
        """
        accepted = self.accepted()
        if image_id not in accepted:
            known = ", ".join(map(str, accepted)) or "none"
            raise ConfigError(f"--remove {image_id}: no accepted image in this model has that id; there are: {known}")
        return accepted[image_id]


def pixels_sha256(image_rgb: np.ndarray) -> str:
    """SHA-256 of the bytes of an image (H, W, 3) uint8 in RGB order, row by row: the same for every lossless file."""
    return hashlib.sha256(np.ascontiguousarray(image_rgb).data).hexdigest()


def now_utc() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _record(value: object, source: str) -> AuditRecord:
    record = as_object(value, source)
    if record.get("action") not in ACTIONS:
        raise DataError(f"{source}: 'action' is {record.get('action')!r}, expected one of {', '.join(ACTIONS)}")
    texts = {name: field(record, name, as_text, source) for name in ("time_utc", "by", "reason", "file_name", "sha256")}

    def number(name: str) -> float | None:
        return None if record.get(name) is None else as_number(record[name], f"{source}: {name!r}")

    return AuditRecord(
        **texts,
        action=record["action"],
        id=field(record, "id", as_integer, source, 0),
        vectors=field(record, "vectors", as_integer, source),
        score_before=number("score_before"),
        score_after=number("score_after"),
        threshold_before=number("threshold_before"),
        threshold_after=number("threshold_after"),
        guarantee=field(record, "guarantee", as_text, source),
    )
