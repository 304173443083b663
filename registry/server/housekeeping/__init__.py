"""What a registry does beside answering: collecting garbage, retention, scrubbing, checking."""
