"""Self-check of an exported file: its test images through every engine that is here, against the model itself."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from d2road.export.engines import FileSession, engines_for, entries_of_session
from d2road.export.file_metadata import FileMetadata, parse_entries
from d2road.export.graph import GraphCheck


@dataclass(frozen=True)
class Deviation:
    """How far an engine's output is from the model's, over all test images.

    Attributes:
        largest: absolute deviation.
        share: the largest deviation divided by what is allowed there; above 1 is too much.
        note: what cannot be told by numbers, such as another shape; "" for nothing.
    """

    engine: str
    output: str
    largest: float
    tolerance: tuple[float, float]
    share: float
    note: str = ""

    @property
    def passes(self) -> bool:
        """Whether it is within the tolerance."""
        return self.share <= 1


def check_file(path: str | os.PathLike) -> list[Deviation]:
    """Deviations by engine and output.

    Raises:
        FileNotFoundError, ConfigError, DataError: no such file, no engine for it, or a file without test images.
    """
    rows: list[Deviation] = []
    content: FileMetadata | None = None
    for kind in engines_for(path):
        session = kind(path)
        content = content or parse_entries(entries_of_session(session, path), str(path))
        rows += check_session(session, content)
    return rows


def check_session(session: FileSession, content: FileMetadata) -> list[Deviation]:
    """Deviations of a loaded file by output."""
    worst: dict[str, Deviation] = {}
    for number, check in enumerate(content.checks):
        for found in _compare(session, check, content, f"test image {number + 1}"):
            before = worst.get(found.output)
            if before is None or found.share > before.share:
                worst[found.output] = found
    return list(worst.values())


def _compare(session: FileSession, check: GraphCheck, content: FileMetadata, name: str) -> Iterable[Deviation]:
    try:
        outputs = session.run(check.inputs)
    except Exception as error:  # of an engine that loads a graph and cannot run it
        note = f"{name}: {(str(error).strip().splitlines() or [''])[-1][:120]}"
        return [_none(session.engine, output, tolerance, note) for output, tolerance in content.tolerances.items()]
    return [
        deviation_of(session.engine, output, outputs[output], check.outputs[output], tolerance)
        if output in outputs
        else _none(session.engine, output, tolerance, "the file has no such output")
        for output, tolerance in content.tolerances.items()
    ]


def _none(engine: str, output: str, tolerance: tuple[float, float], note: str) -> Deviation:
    """Of an output that is not there."""
    return Deviation(engine, output, np.inf, tolerance, np.inf, note)


def deviation_of(
    engine: str, output: str, found: np.ndarray, expected: np.ndarray, tolerance: tuple[float, float]
) -> Deviation:
    """Of one output; values that are infinite or NaN must be the same."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        return _none(engine, output, tolerance, f"shape {found.shape}, expected {expected.shape}")
    got, want = found.astype(np.float64), expected.astype(np.float64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(same, 0.0, np.abs(got - want))
        off = np.where(np.isnan(off), np.inf, off)
        shares = np.where(off == 0, 0.0, off / (tolerance[0] + tolerance[1] * np.abs(np.where(same, 0.0, want))))
        shares = np.where(np.isnan(shares), np.inf, shares)
    return Deviation(engine, output, float(off.max(initial=0)), tolerance, float(shares.max(initial=0)))


def table_of(rows: Iterable[Deviation]) -> str:
    """The deviations as text, a line for each."""
    lines = [f"{'engine':<13}{'output':<22}{'largest deviation':>18}{'allowed':>26}  verdict"]
    for row in rows:
        allowed = f"{row.tolerance[0]:.3g} + {row.tolerance[1]:.3g} |x|"
        verdict = "ok" if row.passes else "EXCEEDED"
        note = f"  {row.note}" if row.note else ""
        lines.append(f"{row.engine:<13}{row.output:<22}{row.largest:>18.3g}{allowed:>26}  {verdict}{note}")
    return "\n".join(lines)


def failure_of(path: str | os.PathLike, rows: Iterable[Deviation]) -> str:
    """What to say of a file with deviations that exceed their tolerance; "" of one without."""
    failed = ", ".join(f"{row.output} in {row.engine}" for row in rows if not row.passes)
    return f"{path}: NOT EQUAL to the model that it was made of: {failed}; do not use it there" if failed else ""
