"""Profile heads: what is known of a user or an item in, one vector out."""
