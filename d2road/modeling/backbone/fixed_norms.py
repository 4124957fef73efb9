"""Backbones of which a part does not train: the beginning, the batch norms' statistics, or all of the batch norms."""

from collections.abc import Sequence

from detectron2.modeling.backbone import Backbone
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2road.utils.errors import ConfigError

NORMS = ("frozen", "eval", "train")


class FixedNormBackbone(Backbone):
    """A backbone whose fixed batch norms stay in eval mode, and that states its coarsest stride.

    Plain `nn.BatchNorm2d` stays in place, so a checkpoint is the same whatever is fixed.
    """

    _fixed_norms: Sequence[nn.Module] = ()

    def fix(self, norm: str, frozen: set[str], key: str) -> None:
        """Stop gradients and statistics; the last thing that a constructor does.

        Args:
            norm: batch norm: "frozen" | "eval" (statistics fixed, affine parameters train) | "train".
            frozen: names of parameters that do not train; batch norms among them keep their statistics, too.
            key: config node, for the message.
        Raises:
            ConfigError: unknown ``norm``.
        """
        if norm not in NORMS:
            raise ConfigError(f"{key}.NORM: got {norm!r}, expected one of {list(NORMS)}")
        for name, parameter in self.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        fixed: list[nn.Module] = []
        for name, module in self.named_modules():
            if not isinstance(module, _BatchNorm):
                continue
            if norm == "frozen":
                for parameter in module.parameters():
                    parameter.requires_grad_(False)
            if norm != "train" or f"{name}.weight" in frozen:
                fixed.append(module)
        self._fixed_norms = fixed
        self.train(self.training)

    @property
    def size_divisibility(self) -> int:
        """Coarsest stride: inputs padded to it give features of exactly 1 / stride."""
        return max(self._out_feature_strides.values())

    def train(self, mode: bool = True) -> "FixedNormBackbone":
        """Switch to training, except the batch norms whose statistics are fixed."""
        super().train(mode)
        for module in self._fixed_norms:
            module.training = False
        return self
