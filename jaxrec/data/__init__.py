"""Tables in, rows and masks out. Knows numpy, pyarrow and grain; knows nothing of models."""
