"""Networks in ONNX Runtime: the decoding protocol, sessions and KV caches."""
