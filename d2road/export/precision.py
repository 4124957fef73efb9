"""Precision of inference: what is asked for, what a model and a program can do, and what the processor does itself.

fp32   as trained
bf16   products of bfloat16: half the memory, twice the speed where the processor has them
int8   products of 8-bit integers, of models that are quantized
auto   the narrowest of what can be had that the processor multiplies itself; never what it would emulate, and never
       int8, which a model has to be calibrated for
"""

import logging
from collections.abc import Sequence

from d2road.utils.errors import ConfigError

logger = logging.getLogger(__name__)

FP32, BF16, INT8, AUTO = "fp32", "bf16", "int8", "auto"
PRECISIONS = (AUTO, FP32, BF16, INT8)
KEY = "INFERENCE.PRECISION"


def choose_precision(wanted: str, offered: Sequence[str], native: Sequence[str], who: str) -> str:
    """The precision to take.

    Args:
        wanted: one of PRECISIONS.
        offered: what `who`, the subject of messages, can do.
        native: what the processor multiplies itself.
    Returns:
        one of `offered`.
    Raises:
        ConfigError: it cannot be had.
    """
    if wanted not in PRECISIONS:
        raise ConfigError(f"{KEY} is {wanted!r}: choose one of {', '.join(PRECISIONS)}")
    if wanted == AUTO:
        return BF16 if BF16 in offered and BF16 in native else FP32
    if wanted not in offered:
        raise ConfigError(f"{KEY} is {wanted}: {who} runs in {' or '.join(offered)}; choose that, or auto")
    if wanted not in (FP32, *native):
        logger.warning("%s is %s, which this processor emulates: fp32 is faster here", KEY, wanted)
    return wanted
