"""FT-AED's form of file, made up: days, holes, direction, labels and images."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.readers.ft_aed import MPH, read_ft_aed
from d2road.traffic.time_space.sensor_image import render_sensors
from tests.factories.lane_sensors import MILES, START, write


def test_days_in_metres_and_metres_a_second(tmp_path):
    write(tmp_path / "a.csv", lane2_speed={(3, 4, 55.0): 30.0, (3, 5, 53.3): np.nan})
    second, third = read_ft_aed(tmp_path / "a.csv")
    assert (second.day, third.day) == ("2", "3") and len(second.times) == 40
    np.testing.assert_allclose(second.s, [0, 1609.344, 1.7 * 1609.344])  # from mile 55 on, in the direction of travel
    assert third.speed[4, 0, 1] == pytest.approx(30 * MPH) and third.speed[4, 0, 0] == pytest.approx(60 * MPH)
    assert np.isnan(third.speed[5, 2, 1]) and np.isfinite(third.volume).all()


def test_missing_instants_are_unknown_not_skipped(tmp_path):
    frame = write(tmp_path / "a.csv", days=(2,))
    frame[frame["unix_time"] != START + 2 * 86400 + 300].to_csv(tmp_path / "a.csv", index=False)
    (day,) = read_ft_aed(tmp_path / "a.csv")
    assert len(day.times) == 40 and np.isnan(day.speed[10]).all() and np.isfinite(day.speed[9]).all()
    assert (np.diff(day.times) == 30).all()


def test_reports_become_events(tmp_path):
    crash = {(2, 40, None): 1, (2, 41, None): 1, (2, 90, None): 1}
    write(tmp_path / "a.csv", days=(2,), steps=400, crash_record=crash, human_label={(2, 200, None): 1})
    (day,) = read_ft_aed(tmp_path / "a.csv")
    events = day.events()
    assert events["kind"].tolist() == ["crash", "crash", "human"]
    assert events["report"].tolist() == [1200, 2700, 6000]
    assert (events["report"] - events["onset"]).tolist() == [900] * 3 and (
        events["end"] - events["report"] == 900
    ).all()
    good = day.good()
    assert good[:9].all() and not good[10:200].any() and not good[200 : 200 + 241].any()


def test_image_shows_slow_traffic_where_and_when_it_is(tmp_path):
    slow = {(2, step, 54.0): 3.0 for step in range(20, 30)}
    write(tmp_path / "a.csv", days=(2,), **{f"lane{lane}_speed": slow for lane in range(1, 5)})
    (day,) = read_ft_aed(tmp_path / "a.csv")
    image = render_sensors(day, 0, 40, size=(170, 80))
    assert image.shape == (170, 80, 3) and image.dtype == np.uint8
    row = 169 - int(100 * 1609.344 / 1609.344)  # mile 54 is 1 of 1.7 miles from the bottom
    free, jam = image[row, 20], image[row, 50]
    assert free[1] > 200 and jam[1] == 0 and jam[0] > 200
    np.testing.assert_array_equal(image[5, 20], image[165, 20])
    assert (image[row, 39] == free).all() and (image[row, 60] == free).all() and (image[row, 40] == jam).all()
    # 60 mph is 26.8 m/s: between yellow at 24 and green at 40 m/s.
    assert free.tolist() == pytest.approx([(40 - 60 * MPH) / 16 * 255, 255, 0], abs=1)


def test_lanes_weigh_by_volume_and_silence_is_black(tmp_path):
    write(
        tmp_path / "a.csv",
        days=(2,),
        lane1_speed={(2, 3, mile): 20.0 for mile in MILES},
        lane1_volume={(2, 3, mile): 45.0 for mile in MILES},
        **{f"lane{lane}_speed": {(2, 7, mile): np.nan for mile in MILES} for lane in range(2, 5)},
    )
    (day,) = read_ft_aed(tmp_path / "a.csv")
    image = render_sensors(day, 0, 40, size=(10, 40))
    only_one = render_sensors(day, 0, 40, size=(10, 40), lanes=[1])
    assert (image[:, 7] > 0).any() and (render_sensors(day, 0, 40, size=(10, 40), lanes=[2])[:, 7] == 0).all()
    mean = (20 * 45 + 60 * 15) / 60 * MPH  # 13.4 m/s: between red at 8 and yellow at 24
    assert image[4, 3].tolist() == pytest.approx([255, (mean - 8) / 16 * 255, 0], abs=1)
    assert only_one[4, 3].tolist() == pytest.approx([255, (20 * MPH - 8) / 16 * 255, 0], abs=1)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(FileNotFoundError, match="authors of FT-AED"):
        read_ft_aed(tmp_path / "none.csv")
    frame = write(tmp_path / "a.csv")
    frame.drop(columns="lane3_occ").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError, match="lacks the columns lane3_occ"):
        read_ft_aed(tmp_path / "b.csv")
    pd.concat([frame, frame.iloc[[5]]]).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(ValueError, match=r"sensor 55\.0 has two rows at 1696172830"):
        read_ft_aed(tmp_path / "c.csv")
    (day, _) = read_ft_aed(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="instants 30 to 50 of a day that has 40"):
        render_sensors(day, 30, 20)
    with pytest.raises(ValueError, match="expected numbers from 1"):
        render_sensors(day, 0, 20, lanes=[5])
