"""Samples for a GPU: what they are made of works, and what a run leaves is summed up."""

import json

import torch

from benchmarks.speed.gpu_samples import labelled_input, main


def test_labelled_inputs_name_objects_that_are_there():
    made = labelled_input({"expressions": [{"id": 0, "text": "the car"}]}, (96, 160))
    instances = made["instances"]
    assert made["expressions"][0]["targets"] == [0, 1] and len(instances) == 6
    boxes = instances.gt_boxes.tensor
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= torch.tensor([160, 96])).all()


def test_summary_of_a_run(tmp_path, capsys):
    (tmp_path / "parts.txt").write_text("tests 0 12\nsamples 124 300\nstate_space skipped: no time\n")
    (tmp_path / "samples.json").write_text('{"rows": [1]}')
    assert main(["--summary", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["samples"] == {"exit": 124, "seconds": 300} and found["samples"] == {"rows": [1]}
    assert found["parts"]["state_space"] == {"skipped": True} and found["state_space"] is None
