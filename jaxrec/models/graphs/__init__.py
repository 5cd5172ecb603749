"""Graphs of users, items and what is known of items."""
