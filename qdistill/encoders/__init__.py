"""Text encoders: what they learn, and the same function as an ONNX graph."""
