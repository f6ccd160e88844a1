"""The proof of an export: ONNX Runtime against PyTorch, and quality."""
