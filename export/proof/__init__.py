"""The proof of an export: comparison of ONNX Runtime with PyTorch, and translation quality."""
