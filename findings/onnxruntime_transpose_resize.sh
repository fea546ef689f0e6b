#!/usr/bin/env bash
# One expects: a Resize of two named axes (opset 18) between two Transposes loads, as the checker of
# onnx accepts it. What happens: onnxruntime 1.32.0 refuses the model: it finds 0 sizes for the 2
# axes; with its optimizations off, or with sizes for all axes, the same Resize runs. It matters
# here, as images are NHWC and Resize is for NCHW: exported detectors zoom by products instead.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy
cat > program.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(axes):
    sizes = [2, 3, 32, 32] if axes is None else [32, 32]
    resize = {} if axes is None else {"axes": axes}
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            helper.make_node("Resize", ["t", "", "", "s"], ["r"], mode="linear", **resize),
            helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "h", "w", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 32, 32, 3])],
        [numpy_helper.from_array(np.array(sizes, np.int64), "s")],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def run(axes, optimized):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    try:
        session = onnxruntime.InferenceSession(model(axes), options)
        x = np.zeros((2, 40, 50, 3), np.float32)
        return str(session.run(None, {"x": x})[0].shape)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[-160:]}"


print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
found = run([2, 3], optimized=True)
print("axes [2, 3]:               ", found)
print("the same, not optimized:   ", run([2, 3], optimized=False))
print("sizes of all axes:         ", run(None, optimized=True))
assert "Fail" in found, "this behavior has changed"
assert run([2, 3], optimized=False) == run(None, optimized=True) == "(2, 32, 32, 3)"
PYTHON
venv/bin/python program.py
