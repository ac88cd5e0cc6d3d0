"""A user's own models, in the worker: loaded, run, and traced layer by layer; one module a framework."""
