"""Frozen parts whose weights are had from elsewhere, such as an installed package: a file holds their SHA-256 alone.

The form: in place of the weights `PART.*` a state dict has `PART_sha256`, (32,) uint8. A model that `fills_in` a part
supplies the weights itself once such a state dict is loaded, and refuses it where its own are others.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from d2road.utils.errors import CheckpointError

DIGEST = "_sha256"


def weights_digest(tensors: Iterable[Tensor]) -> Tensor:
    """SHA-256 of weights in 32 bits, (32,) uint8; their order and names, which libraries change, do not count."""
    values = [tensor.detach().cpu().contiguous() for tensor in tensors]
    values = [value.float() if value.is_floating_point() else value for value in values]
    each = sorted(hashlib.sha256(repr(tuple(v.shape)).encode() + v.numpy().tobytes()).digest() for v in values)
    return torch.frombuffer(bytearray(hashlib.sha256(b"".join(each)).digest()), dtype=torch.uint8)


def leave_out(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """A state dict with the digest of a part in place of its weights.

    Args:
        part: name of the submodule, such as "text_encoder.encoder".
    Raises:
        CheckpointError: the state dict has no such part.
    """
    inside = [value for name, value in state.items() if name.startswith(f"{part}.")]
    if not inside:
        raise CheckpointError(f"there is no {part!r} to leave out, among {len(state)} weights")
    kept = {name: value for name, value in state.items() if not name.startswith(f"{part}.")}
    return {**kept, part + DIGEST: weights_digest(inside)}


def fills_in(module: nn.Module, part: str, supply: Callable[[], Mapping[str, Tensor]], source: str) -> None:
    """Let a module load state dicts that leave out one of its submodules.

    Args:
        part: name of the submodule. supply: its weights, by names inside of it.
        source: where these are from, for messages.
    """

    def fill(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state.pop(prefix + part + DIGEST, None)
        if stored is None or any(name.startswith(f"{prefix}{part}.") for name in state):
            return
        own = supply()
        _require_same(weights_digest(own.values()), stored, prefix + part, source)
        state.update({f"{prefix}{part}.{name}": value for name, value in own.items()})

    module.register_load_state_dict_pre_hook(fill)


def _require_same(own: Tensor, stored: Tensor, part: str, source: str) -> None:
    if torch.equal(own, stored.cpu()):
        return
    theirs, ours = (bytes(digest.cpu().numpy()).hex()[:12] for digest in (stored, own))
    raise CheckpointError(
        f"the weights go with a frozen {part} that the file leaves out, of SHA-256 {theirs}...; that of {source} has "
        f"{ours}...: take the one that the training had"
    )
