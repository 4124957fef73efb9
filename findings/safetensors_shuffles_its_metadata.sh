#!/usr/bin/env bash
# safetensors writes the same tensors and metadata to other bytes from call to call
# Versions: safetensors 0.8.0 (numpy 2.4.0)
# Guess:    a format made for sharing weights is deterministic: equal tensors and equal metadata give equal files, and so
#           equal checksums
# Seen:     tensors stand in a fixed order, but the entries of `metadata` come in a random one: twenty calls in one process
#           with one tensor and six entries give nearly twenty different byte strings. With one entry, or none, all are
#           equal. The offset of the data and everything behind the header stay the same
# Matters:  a file that is made again from the same weights has another SHA-256, so caches, manifests of model zoos and
#           reproducible builds see a change where there is none. Compare tensors, or write the header in order yourself
# Output:   six entries: more than 10 of 20 files differ; one entry: 1; none: 1; data behind the header: 1
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.0
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import save

tensors = {name: np.arange(4, dtype=np.float32) for name in ("weight", "bias")}


def kinds(entries: int) -> set[bytes]:
    metadata = {f"key{i}": "value" for i in range(entries)}
    return {save(tensors, metadata=metadata or None) for _ in range(20)}


six, one, none = kinds(6), kinds(1), kinds(0)
data = {content[8 + int.from_bytes(content[:8], "little") :] for content in six}
many = "more than 10" if len(six) > 10 else str(len(six))
print(f"six entries: {many} of 20 files differ; one entry: {len(one)}; none: {len(none)}; data behind the header: {len(data)}")
sys.exit(0 if len(six) > 10 and len(one) == len(none) == len(data) == 1 else 1)
PYTHON
