"""A backend, an operator and cases outside of the harness."""
