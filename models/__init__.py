"""Running a model without torch: specification, tokenizer, bundle, ONNX Runtime, search, translator, generator."""

import os

# Turns off ONNX Runtime's telemetry, which keeps a database of events in the user's cache and sends it to its maker.
# ONNX Runtime reads this when modules of this package import it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
