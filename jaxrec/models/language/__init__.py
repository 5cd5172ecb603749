"""Language models that write and choose: a decoder, its weights, and how it is asked."""
