"""Sessions of onnxruntime on the CPU, for products of 8-bit integers."""

from typing import Any

import torch

from d2road.utils.processor import multiplies_bytes


def require_onnx(cure: str) -> tuple[Any, Any]:
    """The modules onnx and onnxruntime.

    Args:
        cure: what to do without them, behind "... or".
    Raises:
        ImportError: one is missing; says how to get it.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"8-bit arithmetic needs onnx and onnxruntime ({error}): pip install 'd2road[export]', or {cure}"
        ) from error
    return onnx, onnxruntime


def start_session(model: Any) -> Any:
    """A session of onnxruntime with as many threads as PyTorch has; they sleep while PyTorch works.

    Args:
        model: an onnx.ModelProto.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not multiplies_bytes():
        # Sums of two 8-bit products would overflow 16 bits and be cut there: other results, without a word. This takes
        # slower kernels with the right sums; where there are instructions for them, it would halve the speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
