"""Recording periods of NGSIM that lie in one file, as on the open-data portal.

The portal's file has 11.8 million rows and no part of it can be had alone; its columns and clocks are imitated here.
"""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.readers import open_trajectories

NAMES = (
    "Vehicle_ID,Frame_ID,Total_Frames,Global_Time,Local_X,Local_Y,Global_X,Global_Y,v_length,v_Width,v_Class,v_Vel,"
    "v_Acc,Lane_ID,Preceding,Following,Space_Headway,Time_Headway,Location"
)
STARTS_MS = (1113433135300, 1113434035300)  # of frame 0: two quarters of an hour


def portal_rows(starts=STARTS_MS, vehicles=3, frames=20, location="i-80"):
    """Rows of vehicles 1, 2, ... in each period, whose numbers and frames begin anew; s is 10 m/s apart in feet."""
    rows = []
    for period, start in enumerate(starts):
        for vehicle in range(1, vehicles + 1):
            for frame in range(10 * vehicle, 10 * vehicle + frames):
                y = 100 * period + 3 * (frame - 10 * vehicle)
                time = start + 100 * frame
                rows.append([vehicle, frame, frames, time, 18, y, 6e6, 2e6, 15, 6, 2, 30, 0, 2, 0, 0, 0, 0, location])
    return rows


def write(path, rows, suffix):
    frame = pd.DataFrame(rows, columns=NAMES.split(","))
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_periods_whose_numbers_begin_anew_are_recordings_of_their_own(tmp_path, suffix):
    rows = portal_rows()
    rng = np.random.default_rng(0)
    path = write(tmp_path / f"portal.{suffix}", [rows[i] for i in rng.permutation(len(rows))], suffix)
    source = open_trajectories(f"ngsim:{path}?smooth=0&location=i-80")
    table = source.table()
    assert table.recordings == ["i-80_20050413T225856Z", "i-80_20050413T231356Z"]
    frame = table.frame
    assert len(frame) == len(rows) and len(frame.groupby(["recording", "vehicle"], observed=True)) == 6
    assert frame["speed"].to_numpy() == pytest.approx(30 * 0.3048, abs=1e-6)
    starts = frame.groupby("recording", observed=True)["s"].min().to_numpy()
    assert starts == pytest.approx([0, 100 * 0.3048])
    assert source.problems.rows == len(rows) and "duplicate row" not in source.problems.counts


def test_a_clock_that_is_some_milliseconds_off_begins_no_period(tmp_path):
    rows = portal_rows(STARTS_MS[:1])
    for row in rows[::7]:
        row[3] += 40
    table = open_trajectories(f"ngsim:{write(tmp_path / 'site.csv', rows, 'csv')}?smooth=0").table()
    assert table.recordings == ["site"] and len(table) == len(rows)


def test_a_row_without_a_clock_among_several_periods_is_dropped_and_told(tmp_path):
    rows = portal_rows()
    rows[5][3] = None
    source = open_trajectories(f"ngsim:{write(tmp_path / 'site.csv', rows, 'csv')}?smooth=0")
    assert len(source.table()) == len(rows) - 1 and source.problems.counts["not a number"] == 1
    assert "recording period" in source.problems.examples["not a number"][0].text
