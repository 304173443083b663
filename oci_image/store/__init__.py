"""Content stores: bytes by digest, names to descriptors."""
