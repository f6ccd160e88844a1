"""Networks written as ONNX graphs, in several precisions."""
