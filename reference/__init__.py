"""The float64 reference in plain NumPy: every operator's value, vector-Jacobian product and error bounds."""
