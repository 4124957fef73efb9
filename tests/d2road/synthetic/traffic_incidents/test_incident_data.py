"""The data set traffic_incidents on disk, with recordings that no simulator made: layout, tables, repeatability."""

import gzip
import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

import efficientad.data.anomaly_datasets  # noqa: F401  registers the formats
from d2road.data import register_by_name
from d2road.synthetic.traffic_incidents import incident_windows as windows
from d2road.synthetic.traffic_incidents import incident_writer as writer
from d2road.synthetic.traffic_incidents import recordings
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_incidents.incident_kinds import INCIDENT_KINDS, SEVERITIES
from d2road.synthetic.traffic_incidents.scenarios import SCENARIOS
from efficientad.evaluation.spro import make_defect, read_defects_config
from efficientad.evaluation.window_events import evaluate_windows, read_meta
from tests.factories.incidents import recording, recording_with_stop

COUNTS = {"train": 12, "validation": 5, "good": 3, "incidents": 8}


@pytest.fixture
def without_sumo(monkeypatch):
    """Recordings come from tests.factories.incidents instead of SUMO; every kind of incident is a vehicle that
    stops."""

    def good(folder, scenario, generator, seconds):
        return recording(folder, replace(SCENARIOS["free"], name=scenario.name), seconds)

    def incident(folder, scenario, generator, kind, severity, twin=True):
        if generator.random() < 0.3:
            raise NotPossibleError("bad luck")
        made = recording_with_stop(folder, severity)
        return replace(made, incident=replace(made.incident, kind=kind, level=9.0))

    monkeypatch.setattr(recordings, "simulate_good", good)
    monkeypatch.setattr(recordings, "simulate_incident", incident)
    monkeypatch.setattr(windows, "visible_incident", lambda table, incident, scenario: incident)
    monkeypatch.setattr(writer, "sumo_version", lambda: "none")


def digests(root) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def load(name: str) -> list[dict]:
    register_by_name(name)
    return DatasetCatalog.get(name)


def test_the_data_set_is_read_by_its_name(without_sumo, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    root = tmp_path / "traffic_incidents"
    done = writer.make_traffic_incidents(root, seed=1, workers=0, good_hours=0.2, **COUNTS)
    assert done["made"] == 2 + 1 + 1 + 8 + 1 and "test/wrong_way: 1 windows" in done["summary"]
    meta = read_meta(root / "meta.csv")
    for category in ("motorway", "motorway_stacked"):
        parts = [load(f"mvtec:{root}/{category}{split}") for split in ("", ":validation", ":test")]
        assert [len(part) for part in parts] == [12, 5, 11]
        test = parts[2]
        assert all((d["height"], d["width"]) == (256, 256) for d in test)
        assert {d["defect"] for d in test if d["label"]} == set(INCIDENT_KINDS)
        assert sorted(meta["window"]) == sorted(
            d["file_name"].removeprefix(f"{root}/{category}/").removesuffix(".png") for part in parts for d in part
        )
        types = read_defects_config(root / category / "defects_config.json")
        for entry in test:
            assert len(entry["mask_files"]) == entry["label"]
            for mask in entry["mask_files"]:
                defect = make_defect(np.asarray(Image.open(mask)), types, mask)
                assert defect.saturation == defect.mask.sum() > 0
                name = types[int(np.asarray(Image.open(mask)).max())].name
                assert name == entry["defect"]
            # Nobody but the culprit of a lost track does anything unusual, so nothing is to be ignored there.
            assert (entry["ignore_file"] is None) == (entry["defect"] in ("good", "lost_track"))
    assert len(load("traffic_incidents/motorway/test")) == 11
    scores = {name: float(kind != "good") for name, kind in zip(meta["window"], meta["kind"]) if name[:4] == "test"}
    judged = evaluate_windows(meta, scores, 0.5, draws=0)
    assert judged["recall"] == 1.0 and judged["events"] == 8 and judged["false_alarms"] == 0
    listed = pd.read_csv(root / "recordings.csv")
    assert (listed["group"] == "hours").sum() == 1 and set(listed["recording"]) >= set(meta["recording"])
    with gzip.open(root / "fcd" / "train_000.csv.gz", "rt") as file:
        assert file.readline() == "timestep_time;vehicle_id\n"


def test_windows_of_good_traffic_have_no_culprit_and_share_no_time(without_sumo, tmp_path):
    writer.make_traffic_incidents(tmp_path / "a", seed=2, workers=0, views=["overlay"], fcd=False, **COUNTS)
    meta = read_meta(tmp_path / "a/meta.csv")
    good = meta[meta["kind"] == "good"]
    assert good[["vehicle", "severity", "onset", "end"]].isna().all().all() and len(good) == 20
    for _, part in good.groupby("recording"):
        part = part.sort_values("t0")
        assert (part["t1"].to_numpy()[:-1] <= part["t0"].to_numpy()[1:] + 1e-6).all()
    groups = good["recording"].str.rpartition("_")[0]
    assert set(groups) == {"train", "validation", "good"}
    assert not (tmp_path / "a/fcd").exists() and not (tmp_path / "a/motorway_stacked").exists()
    bad = meta[meta["kind"] != "good"]
    inside = (
        (bad["onset"] < bad["t1"]) & (bad["end"] > bad["t0"]) & (bad["s_low"] < bad["s1"]) & (bad["s_high"] > bad["s0"])
    )
    assert inside.all() and bad["density"].notna().all() and set(bad["severity"]) == {"mild"}


def test_a_generation_is_repeatable_and_goes_on_where_it_stopped(without_sumo, tmp_path):
    arguments = {"seed": 3, "workers": 0, "views": ["overlay"], **COUNTS}
    root = tmp_path / "a"
    writer.make_traffic_incidents(root, **arguments)
    before = digests(root)
    (root / ".recordings/wrong_way_000.json").unlink()
    (root / "motorway/test/wrong_way/000.png").unlink()
    assert writer.make_traffic_incidents(root, **arguments)["made"] == 1
    assert digests(root) == before
    with pytest.raises(ValueError, match=r"other parameters \(seed 3 there, 4 asked for\): use --overwrite"):
        writer.make_traffic_incidents(root, **{**arguments, "seed": 4})
    writer.make_traffic_incidents(
        tmp_path / "b", **{**arguments, "train": 4, "validation": 0, "good": 0, "incidents": 2}
    )
    with pytest.raises(ValueError, match=r"road None there, two_lanes asked for"):
        writer.make_traffic_incidents(tmp_path / "b", **{**arguments, "road": "two_lanes"})
    smaller = digests(tmp_path / "b")
    same = {name for name in smaller if name.endswith(".png")}
    assert len(same) == 4 + 2 * 3 and all(before[name] == smaller[name] for name in same)


def test_kinds_take_turns_with_their_severities_and_scenarios():
    jobs = list(writer.all_jobs("x", 0, {"train": 0, "validation": 0, "good": 0, "incidents": 200}, 0.0, (), True))
    table = pd.DataFrame(
        [{"kind": j.kind, "severity": j.severity, "scenario": j.scenario, "name": j.name} for j in jobs]
    )
    assert (table["kind"].value_counts() == 25).all() and len(set(table["name"])) == 200
    for kind, part in table.groupby("kind"):
        assert set(part["scenario"]) == set(INCIDENT_KINDS[kind].scenarios)
        assert part["severity"].value_counts().between(8, 9).all() and set(part["severity"]) == set(SEVERITIES)
        cells = part.groupby(["severity", "scenario"]).size()
        assert len(cells) == 3 * len(INCIDENT_KINDS[kind].scenarios)


def test_what_cannot_be_made(without_sumo, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--good is -1, expected 0 or more"):
        writer.make_traffic_incidents(tmp_path / "a", good=-1)
    with pytest.raises(ValueError, match="at least 2 windows are needed"):
        writer.make_traffic_incidents(tmp_path / "a", train=1)
    with pytest.raises(ValueError, match=r"(?s)road 'two_lane' does not exist.*two_lanes"):
        writer.make_traffic_incidents(tmp_path / "a", road="two_lane")
    with pytest.raises(ValueError, match=r"(?s)population 'krauss' does not exist.*eidm"):
        writer.make_traffic_incidents(tmp_path / "a", drivers="krauss")
    with pytest.raises(ValueError, match=r"(?s)view 'stack' does not exist.*stacked"):
        writer.make_traffic_incidents(tmp_path / "a", views=["stack"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("x")
    with pytest.raises(ValueError, match="is not empty"):
        writer.make_traffic_incidents(tmp_path / "mine")

    def never(*_):
        raise NotPossibleError("no vehicle suits")

    monkeypatch.setattr(recordings, "simulate_incident", never)
    with pytest.raises(RuntimeError, match=r"stopped_vehicle_000: 40 times the traffic of free .*no vehicle suits"):
        writer.make_traffic_incidents(tmp_path / "b", workers=0, train=2, validation=0, good=0, incidents=1)
    assert json.loads((tmp_path / "b/traffic_incidents.json").read_text())["train"] == 2
    assert not (tmp_path / "b/motorway/defects_config.json").exists()
