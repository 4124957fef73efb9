"""Events in rendered clips: which count, what was seen of their culprits, and how they are summed up."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from benchmarks.traffic.view_cameras import InView
from benchmarks.traffic.view_clips import ClipEvent, event_in_view, incident_plans
from benchmarks.traffic.view_events import MODEL, culprit_tracks, reason, summarize
from benchmarks.traffic.view_rendered import site_of
from benchmarks.traffic.view_scores import EXACT, SEEN
from d2road.synthetic.traffic_video.clip_plan import all_plans
from d2road.traffic.tracking.ground_tracks import GroundTracks
from tests.factories.camera_sites import straight_camera

CAMERA = straight_camera()
PLAN = incident_plans(6, 1)[0]


def truth(speed: float = 10.0, seconds: float = 8.0) -> pd.DataFrame:
    """A car that drives away in the first lane from 15 m on, and one that stands in the second."""
    t = np.round(0.1 * np.arange(round(10 * seconds)), 1)
    places = ((1, -4.0, 15 + speed * t, speed), (2, -7.5, np.full(len(t), 50.0), 0.0))
    cars = [
        pd.DataFrame({
            "frame": np.arange(len(t)), "t": t, "id": number, "vehicle": f"v{number}", "cls": "car", "X": x, "Y": y,
            "heading_rad": np.pi / 2, "speed_mps": v, "length": 4.0, "width": 1.8, "height": 1.5,
        }) for number, x, y, v in places
    ]  # fmt: skip
    return pd.concat(cars, ignore_index=True)


def event_of(rows, kind="slow_vehicle", start=1.0, end=7.0, ids=(1,), level=5.0):
    told = {"kind": kind, "severity": "severe", "level": level, "ids": list(ids), "start_s": start, "end_s": end}
    return event_in_view(PLAN, [told], rows, site_of(CAMERA))


def test_an_event_is_where_and_when_its_culprit_is_in_view():
    event = event_of(truth())
    low, _ = site_of(CAMERA).view
    assert event.culprit == 1 and event.stay.s_low == pytest.approx(max(low, 25.0), abs=1.0)
    assert (event.stay.start, event.stay.end) == pytest.approx((max(1.0, (low - 15) / 10), min(7.0, 6.5)), abs=0.6), (
        "within the incident, 20 to 80 m from the camera"
    )


def test_who_drives_on_the_shoulder_is_in_view():
    rows = truth()
    rows.loc[rows["id"] == 1, "X"] = 0.0
    event = event_of(rows)
    assert event is not None and event.culprit == 1
    missed = {"found": 0.0, "on_lanes": False}
    assert [reason(row, missed, missed) for row in (EXACT, SEEN)] == ["beside the lanes"] * 2


@pytest.mark.parametrize("case", [{"start": 5.0, "end": 6.4}, {"ids": ()}, {"kind": "speeding"}])
def test_what_is_not_two_seconds_in_view_is_no_event(case):
    """The last one is in view, and at no time faster than 1.2 of the limit."""
    assert event_of(truth(), **case) is None


def tracks_of(rows: pd.DataFrame, number: int, off_m: float, off_mps: float = 0.0) -> pd.DataFrame:
    known = rows[["frame", "t", "cls", "length", "width", "height"]]
    box = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
    return known.assign(
        x=rows["X"] + off_m, y=rows["Y"], var_x=1.0, cov_xy=0.0, var_y=1.0, heading=np.pi / 2, score=0.9, track=number,
        speed=rows["speed_mps"] + off_mps, speed_sd=1.0, acceleration=0.0, course=np.pi / 2, course_sd=0.1,
        motion="moving", seen=True, **box,
    )  # fmt: skip


def test_what_was_seen_of_the_culprit_is_told():
    rows = truth()
    mine = rows[rows["id"] == 1]
    event = ClipEvent("slow_vehicle", "severe", 1, InView(1.0, 5.0, 25.0, 65.0))
    first, second = mine[mine["t"] < 2.95], mine[mine["t"] > 4.05]
    other = tracks_of(rows[rows["id"] == 2], 9, 0.1)
    tracks = GroundTracks.from_frame(pd.concat([tracks_of(first, 3, 0.5, 2.0), tracks_of(second, 4, 0.5, 2.0), other]))
    told = culprit_tracks(event, rows, tracks, CAMERA, np.unique(rows["t"]))
    assert told["tracks"] == ["3", "4"] and told["seen_share"] == pytest.approx(30 / 41)
    assert told["median_error_m"] == pytest.approx(0.5) and told["median_speed_error"] == pytest.approx(2.0)
    told = culprit_tracks(event, rows, GroundTracks.from_frame(other), CAMERA, np.unique(rows["t"]))
    assert told["tracks"] == [] and told["seen_share"] == 0 and told["median_error_m"] is None
    nothing = tracks_of(rows[rows["id"] == 2].assign(X=0.0), 11, 0.0)
    tracks = GroundTracks.from_frame(pd.concat([other, nothing], ignore_index=True))
    assert culprit_tracks(event, rows, tracks, CAMERA, np.unique(rows["t"]))["ghosts_s"] == [7.9]


def test_clips_are_those_of_the_data_set_that_show_an_event_long_enough():
    own = incident_plans(6, 12)
    whole = list(all_plans({"train": 0, "val": 0, "test": 40}, 6, 60.0, sizes=own[0].sizes))
    assert own == [plan for plan in whole if plan.incident not in ("", "speeding")][:12]


def test_a_summary_counts_by_kind_with_exact_intervals_and_pairs():
    def one(kind, exact, model, seen, share):
        rows = {
            EXACT: {"found": exact, "on_lanes": True, "by_culprit": exact > 0},
            MODEL: {"found": model},
            SEEN: {"found": seen, "seen_share": share, "by_culprit": False},
        }
        return {"kind": kind, **{row: {**of, "why": reason(row, of, rows[EXACT])} for row, of in rows.items()}}

    events = [one("slow", 1.0, 0.5, 0.0, 0.2), one("slow", 1.0, 0.7, 1.0, 1.0),
              one("stop", 1.0, 1.0, 0.0, 0.9), one("stop", 0.0, 0.2, 0.0, 1.0)]  # fmt: skip
    told = summarize(events)
    assert told[SEEN]["by_kind"] == {"slow": [1.0, 2], "stop": [0.0, 2]} and told[SEEN]["recall"] == 0.25
    assert told[EXACT]["by_culprit"] == 3 and told[SEEN]["by_culprit"] == 0
    low, high = beta.ppf(0.025, 1, 4), beta.ppf(0.975, 2, 3)
    assert told[SEEN]["interval"] == pytest.approx([low, high])
    assert told[MODEL]["recall"] == pytest.approx(0.6) and "interval" not in told[MODEL]
    assert told["seen less exact"]["recall"] == pytest.approx(-0.5)
    assert told["seen less exact"]["interval"][0] < -0.5 < told["seen less exact"]["interval"][1]
    assert told["found_by_one_alone"] == {EXACT: 2, SEEN: 0}
    assert told["seen less model"]["recall"] == pytest.approx(-0.35)
    assert told[SEEN]["why_not"] == {"not tracked": 1, "below the threshold": 1, "not rare enough in view": 1}
