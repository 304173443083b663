"""Pull-through mirrors: content of other registries, fetched when it is asked for and kept from then on."""
