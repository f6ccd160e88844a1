"""A model as its user meets it, without torch: configuration, tokenizer, bundle, search, translator, generator."""

import os

# ONNX Runtime would else keep a database of events in the user's cache, and send them to its maker. It looks at this
# when it is imported, which modules of this package do.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
