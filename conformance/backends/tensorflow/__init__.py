"""TensorFlow: the backend, and its operators by family."""
