"""The artifact as an HTTP service: requests in, ranked and explained answers out, events kept."""
