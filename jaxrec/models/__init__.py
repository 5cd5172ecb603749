"""Pure Linen modules: no files, no mesh, no optimizer."""
