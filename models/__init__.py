"""A model as its user meets it, without torch: configuration, tokenizer, bundle, search, translator, generator."""

import os

# ONNX Runtime would else keep a database of events in the user's cache, send it to its maker, and start 0.4 s later. It
# looks at this when it is imported, which modules of this package do.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
