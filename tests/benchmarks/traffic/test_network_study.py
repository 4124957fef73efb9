"""Experiments on why networks lose: culprits are found, speeds are relative, errors are measured where they belong."""

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.traffic import study_density, study_probe, study_tables, study_windows
from benchmarks.traffic import study_experiments as experiments
from benchmarks.traffic.rules_windows import list_pieces, write_piece
from benchmarks.traffic.study_windows import StudyWindow, find_culprit, relative_speeds
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError
from d2road.utils.output_files import write_json
from efficientad.modeling.pdn import PDN
from tests.factories.incidents import CULPRIT, ONSET, STOP_S
from tests.factories.incidents import traffic as road_with_a_stop
from tests.factories.traffic_windows import complete, good_windows


def event(kind: str = "stopped_vehicle", name: str = CULPRIT) -> dict:
    rows = road_with_a_stop(True).select(vehicles=[name]).between(ONSET, ONSET + STOP_S + 0.05).frame
    return {
        "kind": kind, "severity": "mild", "onset": ONSET, "end": ONSET + STOP_S, "density": 7.0,
        "s_low": round(float(rows["s"].min()), 1), "s_high": round(float(rows["s"].max()), 1),
    }  # fmt: skip


def test_the_culprit_is_known_by_its_stretch():
    names, interval = find_culprit(road_with_a_stop(True), event())
    assert names == [CULPRIT] and interval == (ONSET, ONSET + STOP_S)
    frame = road_with_a_stop(False).frame
    renamed = frame["vehicle"].astype(object).where(~((frame["vehicle"] == CULPRIT) & (frame["t"] > 102)), "7b")
    names, interval = find_culprit(Trajectories.from_frame(frame.assign(vehicle=renamed)), event("lost_track"))
    assert names == ["7", "7b"] and interval == (ONSET - 2, ONSET + STOP_S + 2)


def test_windows_of_a_recording_show_its_incident(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    piece = next(p for p in list_pieces(1000, 1000, 6, 5, 96) if p.job.kind == "stopped_vehicle")
    with pytest.raises(DataError, match="--keep-tables simulates it"):
        study_windows.read_study([piece])
    write_piece(piece, pd.DataFrame({"t0": [80.0, 92.8, 20.0], "s0": [410.0, 640.0, 410.0]}), event())
    road_with_a_stop(True).to_parquet(piece.table_path)
    (one,) = study_windows.read_study([piece])
    assert one.kind == "stopped_vehicle" and one.culprits == (CULPRIT,)
    assert one.mask("overlay").sum() > 500 and one.window.t0 < ONSET + 1
    again = study_windows.read_study([piece])[0].window
    assert (again.t0, again.s0) == (one.window.t0, one.window.s0)
    grid = study_windows.grid_windows(piece, one)
    assert [w.window.t0 for w in grid] == [t for t in (80.0, 92.8) if any(w.window.t0 == t for w in grid)] and grid
    assert all(w.mask("overlay").any() for w in grid)


def test_a_smaller_study_takes_good_windows_of_recordings_that_are_no_test(tmp_path):
    write_json(tmp_path / "traffic_incidents.json", {"seed": 0, "train": 30, "validation": 5})
    with pytest.raises(DataError, match=r"train_000.parquet is not there"):
        study_windows.read_small_study(tmp_path, [])
    (tmp_path / "recordings").mkdir()
    for name in ("train_000", "train_001", "train_002", "validation_000"):
        road_with_a_stop(False).to_parquet(tmp_path / "recordings" / f"{name}.parquet")
    found = study_windows.read_small_study(tmp_path, [])
    counts = {part: sum(one.part == part for one in found) for part in experiments.PARTS}
    assert counts == {"train": 16, "compare": 5, "good": 5, "incident": 0}
    parts = {one.window.recording: one.part for one in found}
    assert parts == {"train_000": "train", "train_001": "train", "train_002": "compare", "validation_000": "good"}


def test_speeds_are_relative_to_those_around_at_the_same_instant():
    frame = complete(pd.DataFrame({
        "t": [0.0, 0.0, 0.0, 0.0, 0.1], "s": [100.0, 150.0, 290.0, 900.0, 103.0], "lane": 1,
        "speed": [30.0, 20.0, 26.0, 10.0, 30.0], "vehicle": ["a", "b", "c", "d", "a"],
    }))  # fmt: skip
    found = relative_speeds(Trajectories.from_frame(frame)).frame
    drawn = {(row.vehicle, round(row.t, 1)): row.speed for row in found.itertuples()}
    # a and c are near b, c also near a; d is alone, and so is a a moment later.
    expected = {"a": 20 + 2 * (30 - 23), "b": max(20 + 2 * (20 - 28), 1), "c": 20 + 2 * (26 - 25), "d": 20}
    assert drawn == pytest.approx({**{(name, 0.0): value for name, value in expected.items()}, ("a", 0.1): 20})


@pytest.fixture
def windows() -> list[StudyWindow]:
    """Good windows of all parts, and incidents that are good windows with a culprit."""
    made = good_windows(60)
    parts = ["train"] * 20 + ["compare"] * 22 + ["good"] * 10
    found = [StudyWindow(window, part) for window, part in zip(made, parts)]
    for window in made[52:]:
        name = str(window.inside().frame["vehicle"].iloc[0])
        found.append(StudyWindow(window, "incident", "speeding", (name,), (window.t0, window.t1)))
    return found


def test_scores_are_judged_as_they_are_and_relative_to_density(windows):
    rng = np.random.default_rng(0)
    scores = {part: rng.normal(size=sum(one.part == part for one in windows)) for part in experiments.PARTS[1:]}
    scores["incident"] = scores["incident"] + 10
    found = experiments.judge(windows, scores)
    assert found["raw"]["auroc"] == found["relative"]["auroc"] == 1 and found["raw"]["interval"] == [1, 1]
    assert found["raw"]["by_kind"] == {"speeding": 1} and len(found["scores"]) == 18


def test_a_student_learns_and_its_errors_are_where_vehicles_are(windows, monkeypatch):
    monkeypatch.setattr(experiments, "STEPS", 12)
    monkeypatch.setattr(experiments, "TOLD_AT", (2, 40))  # and at the last, of more or fewer

    def embed(images):
        blurred = [torch.from_numpy(image).float().mean(-1).reshape(32, 8, 32, 8).mean((1, 3)) for image in images]
        return [torch.stack([one] * experiments.CHANNELS).half() for one in blurred]

    monkeypatch.setattr(experiments, "embed", embed)
    for module in (experiments, study_density):
        monkeypatch.setattr(module, "DRAWS", 40)
    experiments.embed_part.cache_clear()
    torch.manual_seed(study_windows.SEED)
    found = experiments.train_student(windows, quantile=0.0)
    assert list(found) == ["2", "12"] and found["12"]["good_error"] < found["2"]["good_error"]
    rows = study_tables.student_rows({"student": found}, ("student", "student-hard"))
    assert [row[:2] for row in rows] == [["student", "2"], ["student", "12"]]
    assert found["12"]["culprit_error"] > 0 and 0 <= found["12"]["raw"]["auroc"] <= 1
    both = experiments.compare_density_student(windows)
    assert both["without"] == found and both["with"]["12"]["good_error"] != found["12"]["good_error"]
    assert both["with"]["2"]["good_error"] == pytest.approx(found["2"]["good_error"], rel=0.05)
    rows = study_tables.density_rows({"student-density": both})
    assert len(rows) == 4 and rows[0][0] == "student-density, 2 steps, without" and rows[0][-1] == "-"
    experiments.embed_part.cache_clear()


def test_a_student_that_is_told_the_density_begins_as_the_other_and_uses_it():
    torch.manual_seed(0)
    pdn = PDN("narrow", 8, padding=True)
    student = study_density.DensityStudent(pdn, study_density.DensityScale(np.array([10.0, 30.0])))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(student(images, np.array([10.0, 90.0])), pdn(images))
    torch.nn.init.normal_(student.modulation[-1].weight)
    found = student(images[[0, 0]], np.array([10.0, 90.0]))
    assert (found[0] - found[1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="photographs have no density"):
        next(experiments.student_steps([], images, (images, images), 0.0, [np.zeros(1)], np.array([1.0])))


def test_density_is_a_channel_in_units_of_the_spread_of_features():
    """By hand: two cells 3 and 4 from their mean in two channels spread 5; densities one deviation from theirs."""
    features = torch.tensor([[[[3.0, -3.0]], [[4.0, -4.0]]]]).repeat(2, 1, 1, 1) + 7
    spread = study_density.feature_spread(features)
    assert spread == pytest.approx(5 * (4 / 3) ** 0.5)  # of four cells, unbiased
    scale = study_density.DensityScale(np.array([20.0, 40.0]))
    found = study_density.append_density(features, np.array([20.0, 50.0]), scale, 0.5, spread)
    assert found.shape == (2, 3, 1, 2) and torch.equal(found[:, :2], features)
    torch.testing.assert_close(found[:, 2, 0], torch.tensor([[-0.5, -0.5], [1.0, 1.0]]) * spread)


def test_scores_are_compared_on_the_same_windows(windows):
    tested, rng = experiments.of_tested(windows), np.random.default_rng(0)
    noise = rng.normal(size=len(tested))
    better = noise + 10 * np.array([one.kind != "good" for one in tested])
    found = study_density.compare_scores(tested, {"raw": better}, {"raw": noise})["raw"]
    bad = np.array([one.kind != "good" for one in tested])
    pairs = (noise[bad][:, None] > noise[~bad]).mean()  # AUROC is the share of pairs in order
    assert found["auroc"] == pytest.approx(1 - pairs) and found["interval"][0] < 1 - pairs < found["interval"][1]
    same = study_density.compare_scores(tested, {"raw": noise}, {"raw": noise})["raw"]
    assert same == {"auroc": 0, "interval": [0, 0]}


def test_density_as_an_input_is_judged_beside_none(windows, monkeypatch):
    """A bank whose features say nothing tells dense windows from those that it has seen by density alone."""
    rng = np.random.default_rng(0)
    density = {id(one): 20.0 + rng.normal() + 30 * (one.part == "incident") for one in windows}
    monkeypatch.setattr(experiments, "densities_of", lambda some: np.array([density[id(one)] for one in some]))
    monkeypatch.setattr(experiments, "BANK", 200)
    for module in (experiments, study_density):
        monkeypatch.setattr(module, "DRAWS", 40)
    features = {
        part: torch.from_numpy(rng.normal(size=(sum(one.part == part for one in windows), 4, 4, 4)))
        for part in experiments.PARTS
    }
    monkeypatch.setattr(experiments, "embed_part", lambda *_: features)
    found = experiments.score_bank_with_density(windows, "overlay")
    assert list(found) == ["0", "0.1", "0.3", "1"] and found["1"]["raw"]["auroc"] == 1
    assert found["0"]["less without"]["raw"] == {"auroc": 0, "interval": [0, 0]}
    assert found["1"]["less without"]["raw"]["auroc"] == pytest.approx(1 - found["0"]["raw"]["auroc"])
    rows = study_tables.density_rows({"bank-overlay-density": found})
    assert [row[0] for row in rows][-1] == "bank-overlay-density, weight 1" and rows[0][-2:] == ["-", "-"]
    assert rows[-1][1].startswith("1.000") and rows[-1][3].startswith("+0.")


def test_cells_of_vehicles_and_culprits(windows):
    some = [windows[0], windows[-1]]
    cells = experiments.vehicle_cells(some, [one.render("overlay") for one in some])
    assert cells.shape == (2, 32, 32) and 0 < cells[1].sum() < cells[0].sum()


def test_a_probe_tells_what_the_features_hold(windows, monkeypatch):
    """Features of the first channel say where the culprit is: found; features that say nothing: not found."""

    def embedded(shown):
        def embed_part(all_windows, view, relative):
            rng, found = np.random.default_rng(0), {}
            for part in ("good", "incident"):
                own = [one for one in all_windows if one.part == part]
                maps = rng.normal(size=(len(own), 4, 32, 32))
                for one, features in zip(own, maps):
                    features[0] += shown * study_probe.to_cells(one.mask(view)) if one.culprits else 0
                found[part] = torch.from_numpy(maps)
            return found

        return embed_part

    aurocs = []
    for shown in (0.0, 20.0):
        monkeypatch.setattr(study_probe, "embed_part", embedded(shown))
        found = study_probe.probe_features(windows, "overlay")
        assert list(found["by_kind"]) == ["speeding"] and found["mean"] == found["by_kind"]["speeding"]
        aurocs.append(found["mean"])
    assert aurocs[0] < 0.95 and aurocs[1] == 1
