"""Print what a bug report needs: versions, devices, allocator, revision, data sets, systems.

    d2road env

No environment variables are listed apart from those named here, and nothing is sent anywhere.
"""

import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.environment import usable_cores
from d2road.utils.errors import report_errors

REPO = Path(__file__).resolve().parents[2]
PACKAGES = (
    "torch", "torchvision", "timm", "transformers", "mamba_ssm", "cv2", "numpy", "scipy", "PIL", "pycocotools",
    "faster_coco_eval", "fvcore", "iopath", "onnx", "onnxruntime", "pandas", "pyarrow", "sumo",
)  # fmt: skip


def build_parser() -> ArgumentParser:
    """The command line."""
    return verb_parser("env", __doc__)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Print every section; a section that fails says so and leaves the others alone."""
    build_parser().parse_args(argv)
    warnings.filterwarnings("ignore")
    width = 22
    for title, section in SECTIONS:
        print(f"[{title}]")
        try:
            for name, value in section():
                print(f"  {name:<{width}} {value}")
        except Exception as error:  # the report must come out whatever is broken
            print(f"  failed: {type(error).__name__}: {error}")
    return 0


def versions() -> Iterator[tuple[str, str]]:
    """Of Python and the packages that matter."""
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    distributions = importlib.metadata.packages_distributions()
    for module in PACKAGES:
        names = distributions.get(module, [])
        yield module, ", ".join(f"{importlib.metadata.version(n)} ({n})" for n in sorted(set(names))) or "not installed"


def detectron2_build() -> Iterator[tuple[str, str]]:
    """Where Detectron2 comes from, and whether its compiled part works."""
    import detectron2

    names = sorted(set(importlib.metadata.packages_distributions().get("detectron2", []))) or ["no distribution"]
    yield "version", f"{detectron2.__version__} ({', '.join(names)})"
    yield "folder", str(Path(detectron2.__file__).parent)
    try:
        importlib.import_module("detectron2._C")
        yield "compiled _C", "works"
    except ImportError as error:
        yield "compiled _C", f"absent ({error}); nothing here needs it"


def hardware() -> Iterator[tuple[str, str]]:
    """Devices, cores and memory."""
    import psutil
    import torch

    yield "cuda", torch.version.cuda or "not in this torch"
    for i in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(i)
        yield f"cuda:{i}", f"{p.name}, {p.total_memory / 2**30:.1f} GiB, capability {p.major}.{p.minor}"
    yield "mps", str(torch.backends.mps.is_available())
    yield "cores", f"{usable_cores()} usable of {os.cpu_count()}; torch uses {torch.get_num_threads()} threads"
    memory = psutil.virtual_memory()
    yield "memory", f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"
    yield "allocator", allocator(os.environ.get("LD_PRELOAD", ""))
    yield "processor", processor()


def allocator(preload: str) -> str:
    """Which allocator this process has; it decides the speed of training on a CPU."""
    from d2road.utils.allocator import keep_freed_pages

    for name in ("jemalloc", "tcmalloc"):
        if name in preload:
            return name
    return "the system's" + " (glibc's, told to keep its pages)" * keep_freed_pages()


def processor() -> str:
    """What it multiplies itself, and which library does float32 products: these decide the speed of models on a CPU."""
    from d2road.utils.processor import multiplies_bfloat16, multiplies_bytes, use_fast_products

    own = [name for name, has in (("bf16", multiplies_bfloat16()), ("int8", multiplies_bytes())) if has]
    library = "oneDNN" if use_fast_products() else "torch's own choice"
    return f"multiplies fp32{''.join(', ' + name for name in own)}; products of fp32 by {library}"


def revision() -> Iterator[tuple[str, str]]:
    """Of this checkout."""
    yield "commit", git_revision(REPO)


def git_revision(folder: Path) -> str:
    """Commit of the checkout in this folder, with a note if files differ from it."""
    if not (folder / ".git").exists():
        return "not a git checkout"
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"
    return commit + (f" with {len(changed.splitlines())} changed files" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def datasets() -> Iterator[tuple[str, str]]:
    """Which of the data sets with a name are there."""
    from detectron2.data import MetadataCatalog

    from d2road.data import DATASET_FAMILIES
    from d2road.data.datasets.builtin import datasets_root, index_files

    root = datasets_root()
    given = "DETECTRON2_DATASETS" if "DETECTRON2_DATASETS" in os.environ else "default"
    yield "root", f"{root.resolve()} ({given})"
    files = index_files(root)
    for name in ("coco_2017_train", "coco_2017_val", "lvis_v1_train", "lvis_v1_val"):
        files[name] = Path(MetadataCatalog.get(name).json_file)
    for name, path in files.items():
        yield name, "present" if path.is_file() else f"absent (no {path})"
    for _ in systems():  # importing them registers their collections
        pass
    for family in DATASET_FAMILIES.names():
        inside = [p.name for p in (root / family).iterdir() if p.is_dir()] if (root / family).is_dir() else []
        found = ", ".join(sorted(name for name in inside if not name.startswith(".")))
        yield f"{family}/CATEGORY", f"present: {found}" if found else f"absent (no {root / family})"


def systems() -> Iterator[tuple[str, str]]:
    """The systems of this collection and whether they can be imported."""
    from d2road.config.projects import load_project, project_references

    for name, reference in project_references().items():
        try:
            load_project(name, reference)
            yield name, f"{reference} works"
        except ImportError as error:
            yield name, str(error)


SECTIONS: tuple[tuple[str, Callable[[], Iterator[tuple[str, str]]]], ...] = (
    ("versions", versions),
    ("detectron2", detectron2_build),
    ("machine", hardware),
    ("checkout", revision),
    ("data sets", datasets),
    ("systems", systems),
)

if __name__ == "__main__":
    sys.exit(main())
