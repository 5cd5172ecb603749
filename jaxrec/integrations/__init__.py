"""The artifact behind the servers of others; each needs a package that jaxrec does not install."""
