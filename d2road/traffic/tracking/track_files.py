"""Files of tracks that grow with a stream.

    tracks.csv             all columns of `ground_tracks`; the others are made of the same rows
    tracks_mot.txt         MOTChallenge's results
    tracks_kitti.txt       KITTI's tracking results
    tracks.parquet         all columns, once the stream has ended
    trajectories.parquet   the trajectory table of `d2road.traffic`, once the stream has ended; where a road is known

Texts grow by whole blocks of lines that are on the disk when `add` returns, so that a run that is killed loses nothing
that was added; `finish_track_files` then makes the Parquet files of what is there. Memory is that of a block.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.track_text import csv_header, csv_lines, kitti_lines, mot_lines
from d2road.utils.errors import DataError, OutputError
from d2road.utils.output_files import append_text, atomic_write, make_folder

CSV, MOT, KITTI = "tracks.csv", "tracks_mot.txt", "tracks_kitti.txt"
PARQUET, TRAJECTORIES = "tracks.parquet", "trajectories.parquet"
BLOCK_ROWS = 1 << 16


class TrackFiles:
    """Writer of the tracks of one video.

    Args:
        folder: made where it is not there.
        camera: of the video.
        recording: its name, in the trajectory table.
        overwrite: replace tracks that are there.
    Raises:
        OutputError: the folder holds tracks already, or cannot be written.
    """

    def __init__(self, folder: str | Path, camera: RoadsideCamera, recording: str, overwrite: bool = False):
        self.folder, self.camera, self.recording = make_folder(folder), camera, recording
        there = [name for name in (CSV, MOT, KITTI, PARQUET, TRAJECTORIES) if (self.folder / name).exists()]
        if there and not overwrite:
            raise OutputError(
                errno.EEXIST,
                f"{self.folder} holds tracks already ({', '.join(there)}): choose another, or ask for overwriting",
            )
        for name in there:
            (self.folder / name).unlink()
        for name, text in ((CSV, csv_header()), (MOT, ""), (KITTI, "")):
            append_text(self.folder / name, text)

    def add(self, tracks: GroundTracks) -> None:
        """Add rows, in order of time from call to call, as `Tracker.take_finished` gives them."""
        if not len(tracks):
            return
        append_text(self.folder / CSV, csv_lines(tracks))
        append_text(self.folder / MOT, mot_lines(tracks, self.camera))
        append_text(self.folder / KITTI, kitti_lines(tracks, self.camera))

    def close(self) -> None:
        """Make the Parquet files of all rows."""
        finish_track_files(self.folder, self.camera.road, self.recording)


def finish_track_files(folder: str | Path, road: RoadAxis | None, recording: str) -> None:
    """Make the Parquet files of tracks.csv, block by block.

    Raises:
        FileNotFoundError, DataError: no tracks.csv there, or it is none; half a line at its end is left out.
    """
    folder = Path(folder)
    _write_blocks(folder / PARQUET, (tracks.rows for tracks in read_track_blocks(folder / CSV)))
    if road is not None:
        tables = (to_trajectories(tracks, road, recording).frame for tracks in read_track_blocks(folder / CSV))
        _write_blocks(folder / TRAJECTORIES, tables)


def read_track_blocks(path: str | Path, rows: int = BLOCK_ROWS) -> Iterator[GroundTracks]:
    """Tracks of a CSV file in blocks of about so many rows; an instant is never cut in two. One empty block of none.

    Raises:
        FileNotFoundError, DataError: no such file, or not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: tracks are read from there")
    held, given = GroundTracks.empty(), False
    try:
        with pd.read_csv(path, dtype={"cls": str, "motion": str}, chunksize=rows) as blocks:
            for block in blocks:
                held = concat([held, GroundTracks.from_frame(_complete(block))])
                ready = held.rows["t"].to_numpy() < held.rows["t"].max()
                if ready.any():
                    given = True
                    yield GroundTracks(held.rows[ready].reset_index(drop=True))
                held = GroundTracks(held.rows[~ready].reset_index(drop=True))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is no table of tracks: {error}") from error
    if len(held) or not given:
        yield held


def _complete(block: pd.DataFrame) -> pd.DataFrame:
    """The rows of a block without the last one where it ends in the middle: its last column is missing."""
    return block.iloc[:-1] if len(block) and block.isna().iloc[-1, -1] else block


def _write_blocks(path: Path, blocks: Iterator[pd.DataFrame]) -> None:
    """One Parquet file of blocks of rows, atomically. Names of a block may be new to it: they are text in the file."""
    with atomic_write(path) as file:
        writer = None
        for block in blocks:
            names = block.select_dtypes("category").columns
            table = pa.Table.from_pandas(block.astype(dict.fromkeys(names, object)), preserve_index=False)
            if writer is None:
                schema = _text_schema(table.schema)
                writer = pq.ParquetWriter(file, schema)
            writer.write_table(table.cast(schema))
        if writer is not None:
            writer.close()


def _text_schema(schema: pa.Schema) -> pa.Schema:
    """Columns without a value, which have no type of their own, are text."""
    text = [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema]
    return pa.schema(text)
