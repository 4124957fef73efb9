"""Names of weights: ours, nelson1425's and anomalib's, and guessing from shapes what a state dict is.

nelson1425 numbers the layers of an nn.Sequential, anomalib names them. Our names are anomalib's, without the prefixes
`model.` of Lightning and `ae.` of its autoencoder.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from d2road.utils.errors import CheckpointError
from efficientad.modeling.pdn import LAYERS, NELSON_INDICES

# Places of the published autoencoder's convolutions in its nn.Sequential.
NELSON_AUTOENCODER = {
    **{index: f"encoder.enconv{number}" for number, index in enumerate((0, 2, 4, 6, 8, 10), 1)},
    **{index: f"decoder.deconv{number}" for number, index in enumerate((12, 16, 20, 24, 28, 32, 36, 38), 1)},
}


def pdn_forms(size: str) -> dict[str, str]:
    """The names of a PDN's weights: ours, which are anomalib's, to those of nelson1425."""
    return {
        f"conv{number}.{leaf}": f"{index}.{leaf}"
        for number, index in enumerate(NELSON_INDICES[size], 1)
        for leaf in ("weight", "bias")
    }


def pdn_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """A PDN's weights under our names, from nelson1425's or anomalib's.

    Args:
        state: of a teacher or student alone.
        source: what to call it in messages.
    Raises:
        ValueError: its names are neither's.
    """
    names = set(state)
    for size in LAYERS:
        forms = pdn_forms(size)
        if names == set(forms):
            return dict(state)
        if names == set(forms.values()):
            back = {theirs: ours for ours, theirs in forms.items()}
            return {back[name]: value for name, value in state.items()}
    raise CheckpointError(
        f"{source}: not the weights of a PDN: expected conv1 to conv4 or conv6 (anomalib), or 0, 3, 6, 8, ... "
        f"(nelson1425), found {', '.join(sorted(names)[:6]) or 'nothing'}{', ...' * (len(names) > 6)}"
    )


def autoencoder_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The published autoencoder's weights under our names; messages and errors as `pdn_names`."""
    ours = {f"{name}.{leaf}" for name in NELSON_AUTOENCODER.values() for leaf in ("weight", "bias")}
    if set(state) == ours:
        return dict(state)
    numbers = {str(index): name for index, name in NELSON_AUTOENCODER.items()}
    if set(state) == {f"{index}.{leaf}" for index in numbers for leaf in ("weight", "bias")}:
        return {_renumbered(name, numbers): value for name, value in state.items()}
    raise CheckpointError(
        f"{source}: not the weights of the published autoencoder: expected encoder.enconv1 ... decoder.deconv8 "
        f"(anomalib) or 0, 2, ... 38 (nelson1425), found {', '.join(sorted(state)[:6]) or 'nothing'}"
    )


def size_of(state: Mapping[str, Tensor]) -> tuple[str, int]:
    """Size and output channels of a PDN's weights under our names."""
    size = "medium" if "conv6.weight" in state else "small"
    if size == "small" and len(state["conv1.weight"]) == LAYERS["narrow"][0][2]:
        size = "narrow"  # of small's layers
    return size, state[f"conv{len(LAYERS[size])}.weight"].shape[0]


def subset(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What begins with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without `module.` of DataParallel and `_orig_mod.` of torch.compile."""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in state.items()}


def _renumbered(name: str, numbers: Mapping[str, str]) -> str:
    index, leaf = name.split(".")
    return f"{numbers[index]}.{leaf}"
