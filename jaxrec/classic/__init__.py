"""Rankers fitted once, without gradient steps."""
