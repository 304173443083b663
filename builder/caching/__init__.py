"""What may be reused of earlier builds: the cache index, recorded builds, and why a step misses."""
