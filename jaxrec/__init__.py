"""jaxrec: text-aware recommenders in JAX, from an interaction log to one exported scoring function."""

__version__ = "0.1.0"
