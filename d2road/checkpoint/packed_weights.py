"""Weights in a quarter of their size: 8-bit integers per output channel, in a `.safetensors` file.

The form: the header's metadata has `d2road_storage: int8_per_channel`. A weight NAME of shape (out, ...) is there as
int8, beside `NAME.int8_scale`, float16 of shape (out,); its value is int8 * scale of its output channel. All other
tensors are there as they are, 16-bit or whole. The file is data like any other of its kind: reading it runs nothing.

Symmetric, per channel and rounded to nearest, as in Krishnamoorthi, "Quantizing deep convolutional networks for
efficient inference", 2018, section 3.2; of weights alone, which are float32 again before anything is computed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError
from d2road.utils.output_files import atomic_write

STORAGE = "d2road_storage"
INT8 = "int8_per_channel"
SCALE = ".int8_scale"
LEVELS = 127
# Numbers of a channel from which on a scale of two bytes does not count; depthwise convolutions have 9 or 25.
LEAST_FAN_IN = 32
# What is trained, by the ends of its names; thresholds and other states keep every bit.
TRAINED = (".weight", ".bias", "_weight", "_bias", ".running_mean", ".running_var")


def quantize_per_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric 8-bit quantization of each output channel.

    Args:
        weight: (out, ...), finite.
    Returns:
        int8 of the same shape; float16 scales (out,), positive: weight is about int8 * scale, to half a scale.
    """
    rows = weight.detach().double().flatten(1)
    scale = (rows.abs().amax(1) / LEVELS).half()
    # Rounded up, so that the largest number is no more than LEVELS scales; a channel of zeros has any scale.
    upper = torch.nextafter(scale, torch.full_like(scale, torch.inf))
    scale = torch.where(scale.double() * LEVELS < rows.abs().amax(1), upper, scale)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    values = (rows / scale.double()[:, None]).round().clamp(-LEVELS, LEVELS)
    return values.to(torch.int8).view(weight.shape), scale


def dequantize_per_channel(values: Tensor, scale: Tensor) -> Tensor:
    """The inverse of `quantize_per_channel`, in float32."""
    return values.float() * scale.float().view(-1, *[1] * (values.ndim - 1))


def pack_state(state: Mapping[str, Tensor], int8: bool) -> dict[str, Tensor]:
    """The tensors of a weights file in the smaller form.

    Args:
        state: weights by name.
        int8: store convolution and linear weights as above; otherwise all that is trained in 16 bits.
    """
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        if value.dtype not in (torch.float32, torch.float16) or not name.endswith(TRAINED):
            packed[name] = value
        elif int8 and value.ndim >= 2 and value[0].numel() >= LEAST_FAN_IN and name.endswith("weight"):
            packed[name], packed[name + SCALE] = quantize_per_channel(value)
        else:
            half = value.half()
            packed[name] = half if torch.isfinite(half).all() else value
    return packed


def unpack_state(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> dict[str, Tensor]:
    """The weights of a safetensors file, those of the 8-bit form as float32.

    Args:
        metadata: of its header; without STORAGE the tensors are returned as they are.
        source: to call the file in messages.
    Raises:
        CheckpointError: another form, or weights and scales that do not belong together.
    """
    form = metadata.get(STORAGE)
    if form is None:
        return dict(tensors)
    if form != INT8:
        raise CheckpointError(f"{source}: weights are stored as {form!r}, this version reads {INT8!r}: update d2road")
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        if name.endswith(SCALE):
            raise CheckpointError(f"{source}: there is {name}, but not the weight that it scales; fetch the file anew")
        scale = tensors.get(name + SCALE)
        if scale is not None:
            _check_pair(name, value, scale, source)
            value = dequantize_per_channel(value, scale)
        state[name] = value
    return state


def _check_pair(name: str, value: Tensor, scale: Tensor, source: str) -> None:
    found = f"{value.dtype} {tuple(value.shape)} with scales {scale.dtype} {tuple(scale.shape)}"
    if value.dtype != torch.int8 or scale.dtype != torch.float16 or value.ndim < 2 or scale.shape != value.shape[:1]:
        raise CheckpointError(f"{source}: {name} is {found}, expected int8 (out, ...) with float16 (out,)")
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise CheckpointError(f"{source}: {name} has scales that are not positive numbers: the file is damaged")


def write_packed(
    path: str | Path, state: Mapping[str, Tensor], int8: bool, metadata: Mapping[str, str] | None = None
) -> None:
    """Write weights as `.safetensors`, in 16 bits or in the 8-bit form.

    Args:
        metadata: more of the header, such as `base_metadata`.
    Raises:
        OutputError: it cannot be written.
    """
    from safetensors.torch import save

    form = {STORAGE: INT8} if int8 else {"format": "pt"}
    header = {**form, **(metadata or {})}
    content = save(pack_state(state, int8), metadata=header)
    with atomic_write(path) as file:
        file.write(_in_order(content, header))


def _in_order(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its metadata in this order: safetensors writes them in a random one, and a checksum of
    the file would tell nothing.

    Its first 8 bytes are the length of the header, JSON that is filled up with spaces.
    """
    length = int.from_bytes(content[:8], "little")
    header = {**json.loads(content[8 : 8 + length]), "__metadata__": dict(metadata)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    assert len(text) == length
    return content[:8] + text + content[8 + length :]
