"""Meshes, partition rules, placement and compilation."""
