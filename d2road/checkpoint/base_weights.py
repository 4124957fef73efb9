"""Weights that build on those of the model zoo: their file holds what differs from the base alone.

The form: the metadata of a `.safetensors` file has `d2road_base: NAME` and `d2road_base_sha256: SHA256`, of the
entry `zoo:NAME` that the file was written beside. A tensor that is not in the file has the values of the base, unless
it belongs to a part of which the file takes nothing from the base: `d2road_base_without: PART PART`.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from d2road.model_zoo import find_entry, shipped_file
from d2road.utils.addresses import ZOO
from d2road.utils.errors import CheckpointError

Value = TypeVar("Value")
BASE, BASE_SHA256, BASE_WITHOUT = "d2road_base", "d2road_base_sha256", "d2road_base_without"
# An average over training steps moves weights that never changed by its rounding in float32.
ROUNDING = 1e-6


def base_metadata(name: str, without: Iterable[str] = ()) -> dict[str, str]:
    """Metadata of a file that builds on an entry with a file, as that is now.

    Args:
        without: parts of which nothing is taken from the base, such as "text_encoder".
    """
    entry, parts = find_entry(name), " ".join(without)
    return {BASE: entry.name, BASE_SHA256: entry.sha256, **({BASE_WITHOUT: parts} if parts else {})}


def base_part(base: Mapping[str, Value], metadata: Mapping[str, str]) -> dict[str, Value]:
    """The weights that a file takes from its base, by the metadata of its header."""
    left = tuple(f"{part}." for part in metadata.get(BASE_WITHOUT, "").split())
    return {name: value for name, value in base.items() if not name.startswith(left)}


def base_address(metadata: Mapping[str, str], source: str) -> str:
    """The address of the weights that a file builds on; "" for one that is whole.

    Args:
        metadata: of its header. source: to call the file in messages.
    Raises:
        CheckpointError: the base is not in the catalogue, or is another version of it.
        FileNotFoundError: its file is missing.
    """
    name, sha256 = metadata.get(BASE), metadata.get(BASE_SHA256)
    if name is None and sha256 is None:
        return ""
    if not name or not sha256:
        found = {BASE: name, BASE_SHA256: sha256}
        raise CheckpointError(f"{source}: expected the name and the SHA-256 of its base, found {found}; fetch it anew")
    holds = f"{source} holds only what differs from {ZOO}{name}"
    try:
        entry = find_entry(name)
        shipped_file(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{holds}, which cannot be read: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{holds}, which cannot be read: {error}") from error
    if entry.sha256 != sha256:
        raise CheckpointError(
            f"{holds} of SHA-256 {sha256}; that of this version of d2road is {entry.sha256}: install the version that "
            "the file came with, or take the file of this one"
        )
    return f"{ZOO}{entry.name}"


def differing_weights(state: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a file on a base has to hold: those that are not the base's, to ROUNDING.

    Args:
        state: all weights by name. base: those of the base, as they are loaded.
    Raises:
        CheckpointError: the base has weights that `state` lacks: loaded again, they would be there.
    """
    extra = sorted(set(base) - set(state))
    if extra:
        raise CheckpointError(f"the base has weights that the model lacks, such as {extra[0]}: it is of another model")
    return {name: value for name, value in state.items() if name not in base or not _same(value, base[name])}


def _same(value: Tensor, base: Tensor) -> bool:
    if value.shape != base.shape or value.is_floating_point() != base.is_floating_point():
        return False
    if not value.is_floating_point():
        return torch.equal(value, base)
    return torch.allclose(value.double(), base.double(), rtol=ROUNDING, atol=ROUNDING)
