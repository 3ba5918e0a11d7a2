"""`carousel bench efficiency`: what is left of onnxruntime's speed once it serves 64 sessions over gRPC."""
