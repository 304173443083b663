"""Several processes that serve one directory: one makes every change, the others answer."""
