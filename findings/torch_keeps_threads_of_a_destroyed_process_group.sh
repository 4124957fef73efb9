#!/usr/bin/env bash
# After DistributedDataParallel was built once, destroy_process_group leaves the group's threads running
# Versions: torch 2.13.0 (seen with 2.14.1 too), backend gloo, world size 1, Linux
# Guess:    with the model gone and destroy_process_group called, the gloo threads have ended (as they do without a model)
# Seen:     two run loops and a TCP loop go on until the process exits. Building DistributedDataParallel imports
#           torch.distributed.nn.functional, whose functions have the group of that moment as their default argument, so
#           ten references to it stay for ever; imported before init_process_group, nothing stays
# Matters:  threads that run into the end of their process are a risk: one of some thirty trainings of two processes, on a
#           busy machine, was aborted on its way out ("terminate called without an active exception") when all its work
#           was done and these threads were the only ones left. Import torch.distributed.nn.functional before
#           init_process_group, and drop your own references to groups
# Output:   no model: 0 gloo threads   model: 3 gloo threads   model, module imported before: 0 gloo threads
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 "numpy<3"
cat > "$work/threads.py" <<'PYTHON'
import gc, os, sys
from pathlib import Path

import torch
import torch.distributed as dist

mode = sys.argv[1]
if mode == "imported":
    import torch.distributed.nn.functional
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29655", RANK="0", WORLD_SIZE="1")
dist.init_process_group("gloo")
if mode != "none":
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
    model(torch.ones(2, 3)).sum().backward()
    del model
gc.collect()
dist.destroy_process_group()
names = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
print(sum("gloo" in name for name in names))
PYTHON
run() { OMP_NUM_THREADS=1 "$work/venv/bin/python" -W ignore "$work/threads.py" "$1" 2> /dev/null; }
none="$(run none)" model="$(run model)" imported="$(run imported)"
echo "no model: $none gloo threads   model: $model gloo threads   model, module imported before: $imported gloo threads"
[ "$none" = 0 ] && [ "$model" = 3 ] && [ "$imported" = 0 ]
