#!/usr/bin/env bash
# Check the project on a bare machine with a GPU, where nothing can be downloaded.
#
#   benchmarks/speed/gpu_check.sh pack DIR        here: the tree without models, Detectron2 and wheels into DIR
#   benchmarks/speed/gpu_check.sh run DIR [OUT]   there: everything below, figures in OUT (DIR/out) as JSON
#
# What is packed has at most 60 MB in all and 10 MB a wheel; torch, OpenCV, SciPy, pandas and timm must be there. A run
# takes at most 9 minutes: each part has a limit, and what a part fails at is told in OUT/summary.json, not fatal.
# DEVICE=cpu QUICK=1 tries it on a processor. PYTHON_BIN is the Python to use, here with Detectron2, there with torch.
set -euo pipefail

WHEELS="fvcore iopath==0.1.10 pycocotools yacs portalocker omegaconf==2.3.1 antlr4-python3-runtime==4.9.3 \
hydra-core==1.3.8 termcolor tabulate cloudpickle faster-coco-eval pytest iniconfig pluggy safetensors psutil"
BUDGET_S=540

pack() {
    local dir=$1 root name python=${PYTHON_BIN:-python}
    root=$(git rev-parse --show-toplevel)
    mkdir -p "$dir/wheels"
    git -C "$root" archive --format=tar HEAD -- . ':!d2road/model_zoo/*.safetensors' ':!d2road/model_zoo/traffic_*.json' \
        ':!docs/images' ':!benchmarks/results' ':!tests/golden' ':!tests/stored' | gzip -9 > "$dir/d2road.tgz"
    # Detectron2 as it is installed here: of the wheel without compiled parts, which any Python can take.
    "$python" - "$dir/detectron2.tgz" <<'PY'
import importlib.util, pathlib, sys, tarfile
folder = pathlib.Path(importlib.util.find_spec("detectron2").origin).parent
with tarfile.open(sys.argv[1], "w:gz") as archive:
    archive.add(folder, "detectron2", filter=lambda entry: None if "__pycache__" in entry.name or entry.name.endswith(".so") else entry)
PY
    for name in $WHEELS; do # for the Python there, PYTHON_VERSION; where there is no binary wheel, one made here
        "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${PYTHON_VERSION:-3.12}" \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
            -d "$dir/wheels" "$name" 2> "$dir/pip.log" \
            || "$python" -m pip wheel -q --no-deps -w "$dir/wheels" "$name" 2>> "$dir/pip.log" \
            || { cat "$dir/pip.log" >&2; exit 1; }
    done
    rm -f "$dir/pip.log"
    [ -z "$(find "$dir/wheels" -size +10240k)" ] || { echo "a wheel of more than 10 MB" >&2; exit 1; }
    local size
    size=$(du -sk "$dir" | cut -f1)
    echo "packed $((size / 1024)) MB in $dir"
    [ "$size" -le 61440 ] || { echo "more than 60 MB" >&2; exit 1; }
}

run() {
    local dir out start wheel rc=0
    dir=$(cd "$1" && pwd)
    out=${2:-$dir/out}
    mkdir -p "$out" "$dir/tree" "$dir/packages"
    out=$(cd "$out" && pwd)
    start=$(date +%s)
    tar -xzf "$dir/d2road.tgz" -C "$dir/tree"
    tar -xzf "$dir/detectron2.tgz" -C "$dir/packages"
    local python=${PYTHON_BIN:-python3}
    # What the machine has stays as it is: packages that it lacks, or has too old, come first on the path.
    "$python" -m pip install -q --no-index --no-deps --target "$dir/packages" "$dir"/wheels/*.whl > "$out/pip.log" 2>&1 \
        || for wheel in "$dir"/wheels/*.whl; do
            "$python" -m pip install -q --no-index --no-deps --target "$dir/packages" "$wheel" >> "$out/pip.log" 2>&1 || true
        done
    cd "$dir/tree"
    export PYTHONPATH="$dir/tree:$dir/packages" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
    part() { # name, limit in seconds, command
        local name=$1 limit=$2 left began
        shift 2
        left=$((BUDGET_S - ($(date +%s) - start)))
        [ "$limit" -lt "$left" ] || limit=$left
        [ "$limit" -gt 5 ] || { echo "$name skipped: no time" | tee -a "$out/parts.txt"; return 0; }
        began=$(date +%s)
        timeout "$limit" "$@" > "$out/$name.log" 2>&1 && rc=0 || rc=$?
        echo "$name $rc $(($(date +%s) - began))" | tee -a "$out/parts.txt"
    }
    : > "$out/parts.txt"
    local device=${DEVICE:-cuda}
    part tests 150 env D2ROAD_ALONE=1 "$python" -m pytest -q -p no:cacheprovider -m gpu $(grep -rl --include='test_*.py' 'mark\.gpu' tests)
    part samples 300 "$python" -m benchmarks.speed.gpu_samples --device "$device" ${QUICK:+--quick} --json "$out/samples.json"
    part state_space 90 "$python" -m benchmarks.speed.speed_state_space --device "$device" --lengths 256 1024 --chunks 64 \
        --json "$out/state_space.json"
    "$python" -m benchmarks.speed.gpu_samples --summary "$out" | tee "$out/summary.json"
}

case "${1:-}" in
    pack) pack "${2:?a folder}" ;;
    run) run "${2:?the folder that was packed}" "${3:-}" ;;
    *) sed -n 's/^# \{0,1\}//p' "$0" | sed 1d; exit 2 ;;
esac
