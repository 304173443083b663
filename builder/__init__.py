"""Plan a Dockerfile into a graph of steps, run it, assemble and export images."""
