"""Taking the build cache elsewhere and back: ``--cache-to`` and ``--cache-from``."""
