"""The artifact: written once, loaded with jax, numpy and pyarrow alone."""
