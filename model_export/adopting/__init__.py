"""Taking over someone's ONNX graph with explicit states: its tensors are found, paired and fitted to the contract."""
