"""A traced JAX function as ONNX: primitives to operators, and a detector as a file."""
