"""Rows in order of time, in chunks of some seconds, from blocks in any order; larger than memory if need be."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

# Rows of a batch of a file on disk: what is read of each file at once while they are merged.
BATCH = 1 << 15


def chunks_of_ordered(blocks: Iterable[pd.DataFrame], seconds: float) -> Iterator[pd.DataFrame]:
    """Cut blocks whose "t" never falls into chunks of whole `seconds` from the first t on; empty ones are left out."""
    held: list[pd.DataFrame] = []
    start = end = math.nan
    for block in blocks:
        while len(block):
            t = block["t"].to_numpy()
            if math.isnan(start):
                start, end = t[0], t[0] + seconds
            inside = int(np.searchsorted(t, end))
            if inside:
                held.append(block.iloc[:inside])
            block = block.iloc[inside:]
            if len(block):
                if held:
                    yield join(held)
                held = []
                end = start + seconds * (np.floor((t[inside] - start) / seconds) + 1)
                if end <= t[inside]:  # the quotient was rounded down below a whole number
                    end += seconds
    if held:
        yield join(held)


def in_order(blocks: Iterable[pd.DataFrame], memory_rows: int) -> Iterator[pd.DataFrame]:
    """Blocks sorted by "t" and "row".

    Up to memory_rows rows are sorted in memory. Of more, sorted runs are put into a temporary folder and merged.
    """
    held: list[pd.DataFrame] = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="trajectories-") as folder:
        runs: list[Path] = []
        for block in blocks:
            held.append(block)
            count += len(block)
            if count >= memory_rows:
                runs.append(_write_run(sort(join(held)), Path(folder) / f"{len(runs)}.arrow"))
                held, count = [], 0
        if not runs:
            if count:
                yield sort(join(held))
            return
        if count:
            runs.append(_write_run(sort(join(held)), Path(folder) / f"{len(runs)}.arrow"))
            held = []
        yield from _merge(runs)


def join(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One frame of several; category columns stay what they are."""
    if len(frames) == 1:
        return frames[0]
    names = [name for name in frames[0].columns if isinstance(frames[0][name].dtype, pd.CategoricalDtype)]
    unions = {name: pd.api.types.union_categoricals([frame[name] for frame in frames]) for name in names}
    rest = pd.concat([frame.drop(columns=names) for frame in frames], ignore_index=True)
    return rest.assign(**unions)


def sort(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame sorted by t, rows of the same t as they are in the file."""
    return frame.iloc[np.lexsort((frame["row"].to_numpy(), frame["t"].to_numpy()))]


def _write_run(frame: pd.DataFrame, path: Path) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH)
    return path


def _merge(runs: list[Path]) -> Iterator[pd.DataFrame]:
    """Merge sorted runs: always what lies before the earliest end of the batches at hand."""
    readers = [_batches(path) for path in runs]
    heads = [next(reader, None) for reader in readers]
    while any(head is not None for head in heads):
        limit = min(head["t"].to_numpy()[-1] for head in heads if head is not None)
        ready = []
        for i, head in enumerate(heads):
            # Rows at the limit itself may go on in the next batch of the run that sets it.
            while head is not None and head["t"].to_numpy()[-1] <= limit:
                ready.append(head)
                head = next(readers[i], None)
            if head is not None:
                count = int(np.searchsorted(head["t"].to_numpy(), limit, side="right"))
                ready.append(head.iloc[:count])
                head = head.iloc[count:]
            heads[i] = head
        yield sort(join([part for part in ready if len(part)]))


def _batches(path: Path) -> Iterator[pd.DataFrame]:
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i).to_pandas()
