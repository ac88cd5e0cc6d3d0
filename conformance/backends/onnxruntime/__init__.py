"""ONNX Runtime: the backend, and its operators by family."""
