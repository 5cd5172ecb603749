"""Where tables come from: each source is a frozen dataclass with `load() -> Tables`."""
