"""The engine: a tree of recurrent states, one batch for everybody, and decoding over both.

Knows no protocol, no event loop, no onnxruntime; time is passed in and the model is a port (`ports.StepModel`).
"""
