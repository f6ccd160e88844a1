"""Networks in ONNX Runtime: sessions, KV caches, and the protocol by which decoding calls them."""
