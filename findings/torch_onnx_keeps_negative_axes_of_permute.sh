#!/usr/bin/env bash
# torch.onnx.export by tracing writes negative axes of permute and movedim into the file, which nothing then loads
# Versions: torch 2.13.0 (seen with 2.14.1 too), onnx 1.22.0, onnxruntime 1.27.0, openvino 2026.2.0, Python 3.11
# Guess:    negative axes are resolved, as they are for transpose(-1, 0) and flatten(-2), so that the file says perm [2, 0, 1]
# Seen:     permute(-1, 0, 1), movedim(-1, 0) and moveaxis give Transpose a perm with -1; the export succeeds without a
#           word, onnx's checker, onnxruntime and OpenVINO refuse the file. transpose(-1, 0) and movedim(0, -1) are well
# Matters:  the fault shows in deployment, far from its line. Write positive axes, or export with dynamo=True
# Output:   permute(-1, 0, 1) perm [-1, 0, 1] refused, refused   movedim(-1, 0) perm [-1, 0, 1] refused, refused
#           transpose(-1, 0) perm [2, 1, 0] loaded, loaded   movedim(0, -1) perm [1, 2, 0] loaded, loaded
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 "numpy<3" onnx==1.22.0 onnxruntime==1.27.0 openvino==2026.2.0
cat > "$work/axes.py" <<'PYTHON'
import io

import onnx
import onnxruntime
import openvino
import torch

CALLS = {
    "permute(-1, 0, 1)": lambda x: x.permute(-1, 0, 1),
    "movedim(-1, 0)": lambda x: x.movedim(-1, 0),
    "transpose(-1, 0)": lambda x: x.transpose(-1, 0),
    "movedim(0, -1)": lambda x: x.movedim(0, -1),
}


class Moved(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def outcome(load, *data):
    try:
        load(*data)
        return "loaded"
    except Exception:
        return "refused"


lines = []
for name, call in CALLS.items():
    file = io.BytesIO()
    torch.onnx.export(Moved(call), (torch.ones(2, 3, 4),), file, dynamo=False, opset_version=17)
    data = file.getvalue()
    node = next(n for n in onnx.load_from_string(data).graph.node if n.op_type == "Transpose")
    one = outcome(onnxruntime.InferenceSession, data)
    two = outcome(lambda bytes_: openvino.Core().compile_model(openvino.Core().read_model(bytes_), "CPU"), data)
    lines.append(f"{name} perm {list(node.attribute[0].ints)} {one}, {two}")
print("   ".join(lines[:2]))
print("   ".join(lines[2:]))
PYTHON
found="$("$work/venv/bin/python" -W ignore "$work/axes.py" 2> /dev/null)"
echo "$found"
[ "$found" = "permute(-1, 0, 1) perm [-1, 0, 1] refused, refused   movedim(-1, 0) perm [-1, 0, 1] refused, refused
transpose(-1, 0) perm [2, 1, 0] loaded, loaded   movedim(0, -1) perm [1, 2, 0] loaded, loaded" ]
