"""Inputs to vectors: text (BERT) and ready-made vectors."""
