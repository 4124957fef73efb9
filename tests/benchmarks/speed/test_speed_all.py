"""The table of all ratios: medians of turns on one thread, what is missed is said, no path of a machine is kept."""

import pytest
import torch

from benchmarks.speed import interleaved, speed_all


@pytest.fixture
def threads():
    """Sets the number of threads; as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("count", "ratio", "ms"), [(1, 2.0, 2000), (2, 3.0, 1000)])
def test_a_ratio_is_of_turns_on_one_thread_and_of_the_fastest_runs_on_several(threads, count, ratio, ms):
    threads(count)
    row = interleaved.row("this", {"ours": [1.0, 2.0, 4.0], "theirs": [3.0, 4.0, 4.0]}, "ours", "theirs", 2.5)
    assert (row["ratio"], row["ms"], row["low"], row["high"]) == (ratio, ms, 1.0, 3.0)
    assert speed_all.line(row).endswith("| 2.5, missed |" if count == 1 else "| 2.5 |")


def test_the_reference_keeps_the_library_that_it_would_have():
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    seen = []
    interleaved.by_default(lambda: seen.append(setting.fp32_precision))()
    assert seen == ["none"] and setting.fp32_precision == before


def test_records_name_no_path_of_this_machine():
    argv = ["--threads", "1", "--nncf", "/home/me/env/bin/python", "--before", "/home/me/tree"]
    assert speed_all.portable(speed_all.parse(argv), argv) == [
        "--threads", "1", "--nncf", "ENV/bin/python", "--before", "TREE",
    ]  # fmt: skip


def test_a_part_that_fails_is_told_and_the_others_go_on(monkeypatch, capsys):
    row = {"what": "this", "threads": 1, "ratio": 2.0, "low": 1.9, "high": 2.1, "aim": 1.5, "ms": 1, "beside_ms": 2}
    monkeypatch.setattr(speed_all, "run_part", lambda args, part, threads: None if part == "efficientad" else [row])
    assert speed_all.main(["--parts", "efficientad", "diffusion_det", "--threads", "1"]) == 1
    said = capsys.readouterr()
    assert "efficientad with 1 threads" in said.err and "| this | 1 |" in said.out
