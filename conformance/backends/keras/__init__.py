"""Keras on each of its backends: the layers by family, and who runs them."""
