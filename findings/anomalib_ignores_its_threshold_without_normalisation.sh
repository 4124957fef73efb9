#!/usr/bin/env bash
# anomalib's post-processor ignores the threshold that it found where normalisation is off
# Versions: anomalib 2.7.0 (torch 2.14.1 and torchvision 0.29.1)
# Guess:    with enable_normalization=False scores stay raw, so the raw threshold of F1AdaptiveThreshold decides: of scores
#           1, 2 and 4 with a threshold of 3 only the last is anomalous
# Seen:     all three are: raw scores are compared with 1 - image_sensitivity, 0.5, as normalised ones are; the threshold is
#           stored in the checkpoint but decides only with normalisation on
# Matters:  labels, F1 scores and masks of a model trained without normalisation are those of a threshold of 0.5, whatever
#           the scale of its scores. Compare pred_score with post_processor.image_threshold instead
# Output:   threshold 3.0   normalised: [False, False, True]   raw: [True, True, True]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q anomalib==2.7.0 torch==2.14.1 torchvision==0.29.1
cat > "$work/compare.py" <<'PYTHON'
import sys

import torch
from anomalib.data import InferenceBatch
from anomalib.post_processing import PostProcessor

scores = torch.tensor([[1.0], [2.0], [4.0]])
labels = {}
for normalised in (True, False):
    processor = PostProcessor(enable_normalization=normalised)
    for name, value in (("_image_threshold", 3.0), ("image_min", 0.0), ("image_max", 5.0)):
        getattr(processor, name).fill_(value)
    for name, value in (("_pixel_threshold", 3.0), ("pixel_min", 0.0), ("pixel_max", 5.0)):
        getattr(processor, name).fill_(value)
    batch = InferenceBatch(pred_score=scores, anomaly_map=scores.view(3, 1, 1, 1))
    labels[normalised] = processor(batch).pred_label.flatten().tolist()
print(f"threshold {float(processor.image_threshold)}   normalised: {labels[True]}   raw: {labels[False]}")
sys.exit(labels != {True: [False, False, True], False: [True, True, True]})
PYTHON
"$work/venv/bin/python" -W ignore "$work/compare.py"
