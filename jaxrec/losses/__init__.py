"""Losses: one value per example, or a documented scalar."""
