"""Speed of PatchCore's coreset selection and scoring, against anomalib's where it is installed.

    python -m benchmarks.speed.speed_patchcore [--data FOLDER] [--images 200] [--size 30000] [--clock cpu]
        [--record NAME]

Vectors are features of EfficientNet-Lite0 (strides 8 and 16, 3x3 averages, 152 channels) of the images of FOLDER, or of
random ones. Run it with the interpreter of .peers/anomalib (`make peers`) and PYTHONPATH=. to have anomalib in the same
process; its selection takes so long that both are measured on --peer-images of the images as well, with a proportional
coreset. Scoring is of an image in memory, from features to distances and score, a tenth of the images against a bank of
the others; candidates take turns, after a check that they agree.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.data.detection_utils import read_image
from torch import Tensor

from benchmarks.common.records import machine, revision, write_record
from benchmarks.speed.efficientad_candidates import ANOMALIB_MISSING, random_images
from benchmarks.speed.timing import alternate, compare
from d2road.utils.errors import DataError, report_errors
from d2road.utils.progress import track
from efficientad.modeling.coreset import METHODS, covering_radius, select_coreset
from efficientad.modeling.feature_extractors import build_extractor
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.modeling.nearest_neighbours import takes_integers

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
TOLERANCE = 1e-4, 5e-3  # of scores and distances: relative, and of the median distance
PEER = "anomalib"
PRINCIPAL = "fp32, principal"  # without products of 8-bit integers, as where the processor is slow at them
CANDIDATES: dict[str, dict[str, str]] = {
    "fp32": {}, "int8": {"precision": "int8"}, PRINCIPAL: {"search": "principal"},
}  # fmt: skip


def image_features(args: argparse.Namespace) -> Tensor:
    """(B, N, C) features of images of one size."""
    extractor, maps = build_extractor("efficientnet_lite0"), []
    for image in track(list(_images(args)), label="features"):
        fine, coarse = (F.avg_pool2d(layer, 3, 1, 1) for layer in extractor(image[None]))
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
        maps.append(torch.cat([fine, coarse], 1)[0].flatten(1).T)  # (N, C)
    return torch.stack(maps)


def _images(args: argparse.Namespace) -> Iterator[Tensor]:
    if args.data is None:
        yield from (entry["image"] for entry in random_images(args.images, args.seed))
        return
    paths = sorted(path for path in args.data.rglob("*") if path.suffix.lower() in SUFFIXES)[: args.images]
    if not paths:
        raise DataError(f"{args.data}: found no image, expected {', '.join(SUFFIXES)}")
    for path in paths:
        yield torch.from_numpy(read_image(str(path), "RGB").copy()).permute(2, 0, 1).float()


def coreset_row(vectors: Tensor, size: int, args: argparse.Namespace, peer: bool) -> dict[str, Any]:
    """Seconds and covering radius of each method, and of anomalib's."""
    methods: dict[str, Callable[[], Tensor]] = {
        name: lambda name=name: select_coreset(vectors, size, name, args.seed) for name in METHODS
    }
    if peer:
        methods[PEER] = anomalib_coreset(vectors, size, args.seed)
    rows: dict[str, dict[str, float]] = {}
    for name, select in methods.items():
        start = CLOCKS[args.clock]()
        chosen = select()
        seconds = CLOCKS[args.clock]() - start
        rows[name] = {"seconds": seconds, "radius": covering_radius(vectors, chosen)}
    for found in rows.values():
        found["radius_ratio"] = found["radius"] / rows["greedy"]["radius"]
        if peer:
            found["ratio"] = rows[PEER]["seconds"] / found["seconds"]
    return {"what": "coreset", "vectors": len(vectors), "size": size, "candidates": rows}


def anomalib_coreset(vectors: Tensor, size: int, seed: int) -> Callable[[], Tensor]:
    """Its selection as it is called, with its random projection."""
    from anomalib.models.components.sampling import KCenterGreedy

    def select() -> Tensor:
        torch.manual_seed(seed)
        return torch.tensor(KCenterGreedy(vectors, (size + 0.5) / len(vectors)).select_coreset_idxs())

    return select


def scoring_row(features: Tensor, bank: Tensor, args: argparse.Namespace, peer: bool) -> dict[str, Any]:
    """Milliseconds an image of each candidate, one image after the other.

    Raises:
        RuntimeError: the searches do not give the same, or anomalib something else.
    """
    calls: dict[str, Callable[[int], tuple[Tensor, Tensor]]] = {}
    for name, options in CANDIDATES.items():
        calls[name] = our_scoring(MemoryBank(bank, **options), features)
    if not all(map(torch.equal, calls["fp32"](0), calls[PRINCIPAL](0))):
        raise RuntimeError("the two searches differ")
    if peer:
        calls[PEER] = anomalib_scoring(bank, features)
        agree(calls["fp32"](0), calls[PEER](0))
    error = float((calls["int8"](0)[0] - calls["fp32"](0)[0]).abs().max())
    numbers = {name: iter(range(args.runs + 1)) for name in calls}
    timed = {name: lambda name=name: calls[name](next(numbers[name]) % len(features)) for name in calls}
    reference = PEER if peer else "fp32"
    rows = compare(alternate(timed, args.runs, 1, torch.device("cpu"), CLOCKS[args.clock]), reference)
    rows["int8"]["difference"] = error
    note = "" if peer else ANOMALIB_MISSING
    search = "integer" if takes_integers("auto", bank) else "principal"
    return {"what": "scoring", "bank": len(bank), "patches": features.shape[1], "reference": reference,
            "search": search, "candidates": rows, "note": note}  # fmt: skip


def our_scoring(bank: MemoryBank, features: Tensor) -> Callable[[int], tuple[Tensor, Tensor]]:
    def score(number: int) -> tuple[Tensor, Tensor]:
        distances = bank.distances(features[number])
        return distances, bank.image_score(features[number], distances)

    return score


def anomalib_scoring(bank: Tensor, features: Tensor) -> Callable[[int], tuple[Tensor, Tensor]]:
    """The part of its forward pass that comes behind the features."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
    model.memory_bank = bank

    @torch.no_grad()
    def score(number: int) -> tuple[Tensor, Tensor]:
        distances, positions = model.nearest_neighbors(features[number], n_neighbors=1)
        return distances, model.compute_anomaly_score(distances[None], positions[None], features[number])[0]

    return score


def agree(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    """Refuse to compare what does not give the same.

    Raises:
        RuntimeError: distances or scores differ.
    """
    relative, of_median = TOLERANCE
    for one, other in zip(ours, theirs):
        if not torch.allclose(one, other, rtol=relative, atol=of_median * float(ours[0].median())):
            raise RuntimeError(f"ours and anomalib's differ by {float((one - other).abs().max()):.2g}")


def describe(row: dict[str, Any]) -> str:
    """A row as lines of text."""
    if row["what"] == "coreset":
        lines = [f"coreset of {row['size']} among {row['vectors']} vectors"]
        for name, found in row["candidates"].items():
            text = f"    {name:<12} {found['seconds']:8.2f} s  radius {found['radius']:.4f}"
            text += f" ({found['radius_ratio']:.3f} of greedy)"
            lines.append(text + (f"  {found['ratio']:.1f} x anomalib" if "ratio" in found else ""))
        return "\n".join(lines)
    what = f"scoring {row['patches']} patches against {row['bank']} vectors, {row['search']} search"
    lines = [f"{what} {row['note']}".rstrip()]
    for name, found in row["candidates"].items():
        text = f"    {name:<15} {found['ms']:8.1f} ms (best {found['ms_best']:.1f})"
        text += f"  {found['ratio']:.2f} x {row['reference']} ({found['ratio_low']:.2f}-{found['ratio_high']:.2f})"
        lines.append(text + (f"  largest difference {found['difference']:.2g}" if "difference" in found else ""))
    return "\n".join(lines)


def measure(args: argparse.Namespace, peer: bool) -> Iterator[dict[str, Any]]:
    """One row after the other."""
    features = image_features(args)
    vectors, size = features.flatten(0, 1), args.size
    if peer and args.peer_images:
        some = features[: args.peer_images].flatten(0, 1)
        yield coreset_row(some, max(1, size * len(some) // len(vectors)), args, peer=True)
    if not args.only_peer:
        yield coreset_row(vectors, size, args, peer=False)
    scored = max(1, len(features) // 10)
    vectors = features[scored:].flatten(0, 1) if len(features) > 1 else vectors
    # Which vectors a bank holds changes the time little, so they are drawn.
    bank = vectors[select_coreset(vectors, min(size, len(vectors)), "random", args.seed)]
    yield scoring_row(features[:scored], bank, args, peer)


def has_anomalib() -> bool:
    try:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: F401 to see whether it is there
    except ImportError:
        return False
    return True


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of images of one size; random ones if not given")
    for name, default, text in (
        ("images", 200, "images"), ("size", 30000, "vectors of the coreset"), ("runs", 20, "images that are scored"),
        ("peer-images", 20, "images of the coreset that anomalib selects too"), ("seed", 0, "of everything"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--only-peer", action="store_true", help="leave out the selection among all vectors")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of this process, for a busy machine")
    parser.add_argument("--record", metavar="NAME", help="keep the rows as benchmarks/results/benchmark/NAME.json")
    args = parser.parse_args(argv)
    if min(args.images, args.size, args.runs) < 1 or args.peer_images < 0:
        parser.error("--images, --size and --runs are at least 1, --peer-images at least 0")
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a few lines for each row, and keep them if asked to."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args, start, rows, peer = parse(argv), time.perf_counter(), [], has_anomalib()
    data = args.data.name if args.data else "random images"
    print(f"# {machine()}, revision {revision() or 'unknown'}, seed {args.seed}, {args.clock} time, {data}")
    for row in measure(args, peer):
        rows.append(row)
        print(describe(row), flush=True)
    if args.record:
        command = f"python -m benchmarks.speed.speed_patchcore {shlex.join(argv)}"
        write_record("benchmark", args.record, metrics={"rows": rows}, command=command, config="efficientnet_lite0",
                     seed=args.seed, seconds=time.perf_counter() - start)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
