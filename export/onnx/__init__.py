"""Writing networks as ONNX graphs, in several precisions."""
