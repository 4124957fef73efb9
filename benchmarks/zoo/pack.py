"""Pack a trained model for the model zoo: its weights in 16 or 8 bits, its size and checksum in the catalogue.

python -m benchmarks.zoo.pack NAME [--source FILE]    after the bench target that the entry names as its command

FILE is the trained model, instead of the entry's own source. What is written is d2road/model_zoo/. Then
`python -m benchmarks.zoo.measure NAME` measures it, and `python -m benchmarks.zoo.page` takes what its records say into
the catalogue and MODEL_ZOO.md.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from d2road.checkpoint import averaged_weights, load_weights_file
from d2road.checkpoint.base_weights import base_metadata, base_part, differing_weights
from d2road.checkpoint.packaged_part import leave_out
from d2road.checkpoint.packed_weights import write_packed
from d2road.checkpoint.weights import weights_of
from d2road.model_zoo.catalogue import CATALOGUE, FOLDER
from d2road.utils.addresses import ZOO
from d2road.utils.aliases import present_state_dict
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json
from d2road.utils.registry import unknown_name

LARGEST, LARGEST_ALL = 8_000_000, 25_000_000  # bytes of a file, and of all files


def pack_weights(
    source: str | Path,
    target: Path,
    int8: bool,
    base: str = "",
    base_without: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> None:
    """The weights to predict with, averages where the checkpoint has them, in the form of the model zoo.

    Args:
        base: entry of the model zoo whose weights are not repeated, "" for a file that is whole.
        base_without: parts of which the model has nothing from the base.
        left_out: frozen parts that the model has from elsewhere, see `d2road.checkpoint.packaged_part`.
    """
    loaded = load_weights_file(source)
    given = averaged_weights({**loaded, "model": weights_of(loaded, str(source))})
    state = {name: torch.as_tensor(value) for name, value in present_state_dict(given).items()}
    for part in left_out:
        state = leave_out(state, part)
    metadata = base_metadata(base, base_without) if base else {}
    if base:
        state = differing_weights(state, base_part(load_weights_file(f"{ZOO}{base}"), metadata))
    write_packed(target, state, int8, metadata)


def pack_entry(row: dict[str, Any], source: str) -> None:
    """Write the file of an entry; its size and checksum go into the row.

    Raises:
        FileNotFoundError, CheckpointError: the source cannot be read.
        ConfigError: the file is too large.
    """
    target = FOLDER / row["file"]
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source} is not there: run `{row['command']}` first, or name it with --source")
    if row["storage"] == "json":
        shutil.copyfile(source, target)
    else:
        more = {key: row[key] for key in ("base", "base_without", "left_out") if key in row}
        pack_weights(source, target, int8=row["storage"] == "int8", **more)
    content = target.read_bytes()
    row["size"], row["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    if len(content) > LARGEST:
        raise ConfigError(f"{target} has {len(content)} bytes, at most {LARGEST} are shipped: set its storage to int8")


def main(argv: Sequence[str] | None = None) -> None:
    """Pack what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="of the entry")
    parser.add_argument("--source", metavar="FILE", help="the trained model; its default is in the catalogue")
    args = parser.parse_args(argv)
    rows = read_json(CATALOGUE, "catalogue")
    found = [row for row in rows if row["name"] == args.name and "file" in row]
    if not found:
        raise ConfigError(unknown_name("entry with a file", args.name, [r["name"] for r in rows if "file" in r]))
    before = found[0].get("sha256")
    pack_entry(found[0], args.source or found[0]["source"])
    write_json(CATALOGUE, rows)
    above = [row["name"] for row in rows if row.get("base") == args.name]
    if above and found[0]["sha256"] != before:
        print(f"pack {' and '.join(above)} again: built on the file that was there before")
    print(f"{FOLDER / found[0]['file']}: {found[0]['size']} bytes, SHA-256 {found[0]['sha256']}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
