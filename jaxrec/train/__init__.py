"""One training loop for every task, with exact resume."""
