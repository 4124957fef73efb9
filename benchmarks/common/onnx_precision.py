"""Exported files in lower precision: half by casts around layers, 8 bits by onnxruntime's own quantization.

Only layers with trained weights (convolutions and products by a constant) are changed: the arithmetic of resizes, of
boxes and of maps keeps single precision, as somebody who deploys would leave it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from d2road.utils.output_files import atomic_write

LAYERS = ("Conv", "Gemm", "MatMul")
PRECISIONS = ("fp32", "fp16", "int8_dynamic", "int8_static")
Inputs = Mapping[str, np.ndarray]


def trained_layers(model: onnx.ModelProto, largest: int = 0) -> list[str]:
    """Names of nodes with constant weights.

    Args:
        largest: values that a weight may have, 0 for any: a memory bank is no layer.
    """
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    sizes |= {
        node.output[0]: int(np.prod(node.attribute[0].t.dims))
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    return [
        node.name for node in model.graph.node
        if node.op_type in LAYERS and 0 < sizes.get(node.input[1], 0) <= (largest or np.inf)
    ]  # fmt: skip


def convert(source: Path, precision: str, calibration: Sequence[Inputs], largest: int = 0) -> tuple[Path, int]:
    """A file in another precision beside `source`, and how many layers it changed.

    Args:
        precision: of PRECISIONS; "fp32" is the file itself.
        calibration: inputs by which int8_static measures ranges; of training data.
        largest: see `trained_layers`.
    """
    if precision == "fp32":
        return source, 0
    target = source.with_name(f"{source.stem}_{precision}.onnx")
    model = onnx.load(source)
    names = trained_layers(model, largest)
    if precision == "fp16":
        _halve(model, names, target)
    else:
        _quantize(source, target, precision, names, calibration)
    _keep_metadata(model, target)
    return target, len(names)


def _halve(model: onnx.ModelProto, names: Sequence[str], target: Path) -> None:
    """Write a copy whose trained layers take, hold and give half precision, with casts around each."""
    half, kept, added = set(names), [], {}
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    values |= {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        if node.name not in half:
            kept.append(node)
            continue
        inputs = list(node.input)
        for place, name in enumerate(inputs):
            inputs[place] = f"{name}_half"
            if name in values:
                array = onnx.numpy_helper.to_array(values[name]).astype(np.float16)
                added[inputs[place]] = onnx.numpy_helper.from_array(array, inputs[place])
            else:
                inputs[place] = f"{node.name}_{place}_half"
                kept.append(onnx.helper.make_node("Cast", [name], [inputs[place]], to=onnx.TensorProto.FLOAT16))
        output = node.output[0]
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        changed.input[:], changed.output[:] = inputs, [f"{output}_half"]
        kept += [changed, onnx.helper.make_node("Cast", [f"{output}_half"], [output], to=onnx.TensorProto.FLOAT)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {output.name for output in model.graph.output}
    initializers = [*(t for t in model.graph.initializer if t.name in used), *added.values()]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(initializers)
    with atomic_write(target) as file:
        file.write(copy.SerializeToString())


def _quantize(source: Path, target: Path, precision: str, names: Sequence[str], calibration: Sequence[Inputs]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Inputs] = iter(calibration)

        def get_next(self) -> Inputs | None:
            return next(self.left, None)

    options = {"nodes_to_quantize": list(names), "op_types_to_quantize": list(LAYERS), "per_channel": True}
    if precision == "int8_dynamic":  # the processor has convolutions of unsigned weights alone
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8, **options)
    else:
        quantize_static(source, target, Reader(), weight_type=QuantType.QInt8, **options)


def _keep_metadata(model: onnx.ModelProto, target: Path) -> None:
    changed = onnx.load(target)
    known = {entry.key for entry in changed.metadata_props}
    for entry in model.metadata_props:
        if entry.key not in known:
            changed.metadata_props.add(key=entry.key, value=entry.value)
    with atomic_write(target) as file:
        file.write(changed.SerializeToString())
