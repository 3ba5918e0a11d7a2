"""ONNX graphs, written node by node from the weights, with every recurrent state as an input and an output."""
