"""The OCI image model: digests, documents, layers and content stores."""
