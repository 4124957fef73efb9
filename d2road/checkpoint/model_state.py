"""What a trained model knows beside its weights, as buffers that are saved in every checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from d2road.utils.aliases import present_text
from d2road.utils.text_tensors import LENGTH, decode, encode


class ModelState(nn.Module):
    """Texts as buffers (see `d2road.utils.text_tensors`), which no average of weights touches.

    A subclass registers its texts, and further buffers, and may refuse what a checkpoint holds. Buffers whose length
    comes from the data, such as a memory bank, take that of the checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._text_names: list[str] = []
        self._sized_by_data: list[str] = []
        self._optional: list[str] = []
        self._decoded: dict[str, str] = {}  # once: on a GPU, reading a buffer waits for it
        self.register_load_state_dict_pre_hook(_check_stored)
        self.register_load_state_dict_post_hook(_forget_decoded)

    def register_text(self, name: str, text: str, length: int = LENGTH) -> None:
        """Add a text of at most `length` bytes."""
        self.register_buffer(name, encode(text, length))
        self._text_names.append(name)

    def text(self, name: str) -> str:
        """A text, in the words of today."""
        if name not in self._decoded:
            self._decoded[name] = present_text(decode(self.get_buffer(name)))
        return self._decoded[name]

    def set_text(self, name: str, text: str) -> None:
        """Replace a text."""
        buffer = self.get_buffer(name)
        buffer.copy_(encode(text, len(buffer)))
        self._decoded.pop(name, None)

    def register_sized_by_data(self, name: str, value: Tensor) -> None:
        """Add a buffer that a state dict may hold in another shape, of as many dimensions; it keeps its dtype."""
        self.register_buffer(name, value)
        self._sized_by_data.append(name)

    def register_optional(self, name: str, empty: Tensor) -> None:
        """Add a buffer that is sized by data and that state dicts of earlier versions lack: they leave it empty."""
        self.register_sized_by_data(name, empty)
        self._optional.append(name)

    def take_sizes(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Give buffers that are sized by data the shapes that they have in a state dict, before it is loaded.

        Args:
            prefix: of this module in it, with a dot at its end.
        """
        for name in self._sized_by_data:
            stored, own = state_dict.get(prefix + name), self.get_buffer(name)
            if stored is not None and stored.ndim == own.ndim and tuple(stored.shape) != tuple(own.shape):
                setattr(self, name, torch.zeros(tuple(stored.shape), dtype=own.dtype, device=own.device))

    def forget_decoded(self) -> None:
        """To be called when the buffers were written to directly."""
        self._decoded.clear()

    def check_stored(self, stored: Mapping[str, str]) -> None:
        """Look at the texts of a state dict before it is loaded; here all are taken.

        Raises:
            CheckpointError: they do not fit this model.
        """


def _check_stored(module: ModelState, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    found = {name: state_dict[prefix + name] for name in module._text_names if prefix + name in state_dict}
    module.check_stored({name: present_text(decode(record)) for name, record in found.items()})
    if any(f"{prefix}{name}" in state_dict for name in module._text_names):  # otherwise it is of something else
        for name in module._optional:
            state_dict.setdefault(prefix + name, module.get_buffer(name)[:0])
    module.take_sizes(state_dict, prefix)


def _forget_decoded(module: ModelState, _: object) -> None:
    module.forget_decoded()


def take_sizes(model: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Let every `ModelState` in a model take the sizes of its buffers from a state dict of the model."""
    for name, module in model.named_modules():
        if isinstance(module, ModelState):
            module.take_sizes(state_dict, f"{name}." if name else "")
