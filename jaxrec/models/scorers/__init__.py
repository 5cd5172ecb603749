"""How a user vector and item vectors become scores."""
