"""The learned blend of other rankers."""
