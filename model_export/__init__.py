"""From text on disk to a model folder that Carousel serves. Imports torch; `service` never imports this package."""

import os

# Read by onnxruntime when it is imported: without it, it keeps an id of the device and a record of its use on disk.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 -- a setting of the library, not one of ours
