"""Methods compared: equal tuning on validation, one refit, one test, one table."""
