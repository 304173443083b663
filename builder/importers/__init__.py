"""How images come into the local store other than by a build or a pull."""
