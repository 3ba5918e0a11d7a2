"""inference.GRPCInferenceService: the Open Inference Protocol over gRPC. Imported when it is first asked."""
