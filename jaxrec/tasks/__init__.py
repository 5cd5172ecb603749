"""What a training step optimises."""
