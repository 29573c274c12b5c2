"""Private names of the engines' packages: each test says what an upgrade took away."""

import numpy as np
import pytest

from bireal_plugin.hosts.engines_private import byte_vector, field_position, onnxruntime_errors, pinned_ir_version


def test_onnxruntime_raises_its_own_errors():
    onnxruntime = pytest.importorskip('onnxruntime')
    with pytest.raises(onnxruntime_errors()):
        onnxruntime.InferenceSession(b'no model', providers=['CPUExecutionProvider'])


def test_qonnx_wraps_nodes_in_the_given_ir_version():
    pytest.importorskip('qonnx')
    from onnx import TensorProto, helper
    from qonnx.core import onnx_exec

    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, (1,))
    graph = helper.make_graph([], 'empty', [value], [value])
    before = onnx_exec.qonnx_make_model
    with pinned_ir_version(8):
        assert onnx_exec.qonnx_make_model(graph).ir_version == 8, 'qonnx builds the models of single nodes elsewhere'
    assert onnx_exec.qonnx_make_model is before


def test_flatbuffers_aligns_bytes_and_tells_where_a_field_lies():
    flatbuffers, tflite = pytest.importorskip('flatbuffers'), pytest.importorskip('tflite')
    builder = flatbuffers.Builder(64)
    vector = byte_vector(builder, b'abcde', alignment=16)
    tflite.BufferStart(builder)
    tflite.BufferAddData(builder, vector)
    builder.Finish(tflite.BufferEnd(builder))
    data = bytes(builder.Output())
    buffer = tflite.Buffer.GetRootAs(data)
    assert buffer.DataAsNumpy().tobytes() == b'abcde'
    assert data.index(b'abcde') % 16 == 0, 'flatbuffers fills its buffer in another way'
    position = field_position(buffer, 4)
    (pointer,) = np.frombuffer(data[position : position + 4], '<u4')
    assert data[position + pointer + 4 :][:5] == b'abcde', 'generated code keeps its table under another name'
