"""The OCI distribution protocol: what both ends share, a server and a client."""
