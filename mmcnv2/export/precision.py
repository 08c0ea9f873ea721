"""Smaller files of a whole model: float16, and int8 by onnxruntime's static quantization."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .quiet import quiet

#: What is computed with weights, and so in 8 bits.
_QUANTIZED = ('Conv', 'Gemm', 'MatMul')


def is_of_network(name: str) -> bool:
    """Return whether a node belongs to a layer of the network.

    The exporter names nodes by the path of their module. Those of priors, boxes, suppression and masks are outside of
    the layers, in the graph's own code or in that of a head: coordinates of thousands of pixels have no place in 16 or
    8 bits.
    """
    return len([part for part in name.split('/') if part]) > 3


def to_float16(source: Path, target: Path) -> None:
    """Write a file whose network has weights and maps of float16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(source)
    others = [node.name for node in model.graph.node if not is_of_network(node.name)]
    blocked = [*DEFAULT_OP_BLOCK_LIST, 'Range', 'RoiAlign']
    model = convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked, node_block_list=others)
    _leave_out_round_trips(model.graph)
    whole = OnnxModel(model)
    whole.prune_graph()
    whole.topological_sort()  # the converter's own order is not one that every runtime takes
    onnx.save(whole.model, target)


def _leave_out_round_trips(graph: Any) -> None:
    """Let float32 values pass from one blocked node to the next.

    The converter casts what comes out of a blocked node to float16, and what goes into the next one back. Boxes of
    1000 pixels would be half a pixel off, and boxes moved apart by class, of which suppression must not confuse two,
    tens of pixels.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.name.endswith('_cast_to_fp32_node') or node.name.startswith('graph_output_cast'):
            before = made_by.get(node.input[0])
            if before is not None and before.name.endswith('_cast_to_fp16_node'):
                node.input[0] = before.input[0]


def to_int8(source: Path, target: Path, images: Sequence[np.ndarray]) -> None:
    """Write a file whose convolutions and linear layers compute in 8 bits.

    Args:
        source: The file in float32.
        target: File to write.
        images: Each (C, H, W) float32, of which the ranges of values are taken.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else dict(images=image[None])

    model = onnx.load(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in _QUANTIZED and is_of_network(node.name) and node.input[1] in weights
    ]
    with quiet():  # it recommends steps that are done when the file is read
        quantize_static(
            str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, nodes_to_quantize=nodes, per_channel=True
        )
