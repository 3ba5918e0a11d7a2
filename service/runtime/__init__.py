"""The only place that imports onnxruntime: one batch in, one batch out."""
