#!/usr/bin/env bash
# Set up one Python environment: scripts/setup_env.sh [extra ...]; VENV and PYTHON choose where and with what.
# What is installed already (torch, torchvision, detectron2) is left as it is. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
PYTHON=${PYTHON:-python3}
extras=$(IFS=,; echo "${*:-dev}")

"$PYTHON" - <<'CHECK' || { echo "Python 3.10 or newer is needed; name one with PYTHON=/path/to/python3.11" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 10))
CHECK
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
py="$VENV/bin/python"

# 2.14.1 and 0.29.1 belong together and are what this project is tested with; on a GPU machine they bring CUDA.
"$py" -c "import torch, torchvision" 2>/dev/null || "$py" -m pip install torch==2.14.1 torchvision==0.29.1

if ! "$py" -c "import detectron2" 2>/dev/null; then
    # Detectron2 has no package of its own on the registry. This one holds its Python part (of April 2024) under a
    # platform tag that pip refuses elsewhere, hence the flags; the hash says that it is the file that we looked into.
    requirement=$(mktemp)
    trap 'rm -f "$requirement"' EXIT
    echo "sal-detectron2==0.7.2 --hash=sha256:491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561" >"$requirement"
    "$py" -m pip install --no-deps --require-hashes --only-binary=:all: --python-version 3.10 --implementation cp --abi none \
        --target "$("$py" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')" -r "$requirement"
fi

# The installed torch stays what it is, whatever the other packages would like.
constraints=$(mktemp)
trap 'rm -f "${requirement:-}" "$constraints"' EXIT
"$py" -c 'import torch, torchvision as v; print(f"torch=={torch.__version__.split(chr(43))[0]}\ntorchvision=={v.__version__.split(chr(43))[0]}")' >"$constraints"
"$py" -m pip install -c "$constraints" -e ".[$extras]"
"$py" -c "import importlib.metadata as m; m.version('sal-detectron2')" 2>/dev/null &&
    echo "If pip said that sal-detectron2 requires numpy<2: its code runs with NumPy 2, which the tests use."
"$py" -c "import torch, torchvision, detectron2; print('ready: torch', torch.__version__, 'detectron2', detectron2.__version__)"
