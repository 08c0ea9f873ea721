"""What is rounded in a file of float16, and what is not."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmcnv2.export.precision import to_float16

#: Boxes are moved apart by class with numbers as large: of float16 the nearest to this are 32 away.
OFFSET = 40961.5


@pytest.fixture
def source(tmp_path):
    """y = x @ weight in a layer of the network; then, outside of it, (y + OFFSET) - OFFSET and (y + OFFSET) * 1."""
    constants = {
        'weight': np.array([[1.0001, 0], [0, 2]], np.float32),
        'offset': np.float32(OFFSET),
        'one': np.float32(1),
    }
    nodes = [
        helper.make_node('MatMul', ['x', 'weight'], ['y'], '/model/backbone/layer/MatMul'),
        helper.make_node('Add', ['y', 'offset'], ['moved'], '/boxes/Add'),
        helper.make_node('Sub', ['moved', 'offset'], ['back'], '/boxes/Sub'),
        helper.make_node('Mul', ['moved', 'one'], ['far'], '/boxes/Mul'),
    ]
    x, back, far = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ('x', 'back', 'far'))
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, 'graph', [x], [back, far], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / 'source.onnx')
    return tmp_path / 'source.onnx'


def test_float16_is_for_the_network_only(source, tmp_path):
    to_float16(source, tmp_path / 'half.onnx')
    model = onnx.load(tmp_path / 'half.onnx')
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types['weight'] == TensorProto.FLOAT16
    session = onnxruntime.InferenceSession(str(tmp_path / 'half.onnx'), providers=['CPUExecutionProvider'])
    back, far = session.run(None, dict(x=np.array([[3, 0.25]], np.float32)))
    # 1.0001 is 1 in float16; what follows has the digits of float32.
    assert back.tolist() == [[3, 0.5]] and back.dtype == np.float32
    assert far.tolist() == [[3 + OFFSET, 0.5 + OFFSET]]
