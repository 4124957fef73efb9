"""Buffers of the published checkpoints that are not loaded."""

from torch import Tensor, nn

# Constants of the published checkpoints that follow from the schedule; nothing to load.
PUBLISHED_BUFFERS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip


def drop_published_buffers(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
    """Hook before a state dict is loaded, which takes them out of it."""
    for name in PUBLISHED_BUFFERS:
        state_dict.pop(prefix + name, None)
