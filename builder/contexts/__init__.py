"""Build contexts: what COPY, ADD and bind mounts select from, and the digests of it."""
