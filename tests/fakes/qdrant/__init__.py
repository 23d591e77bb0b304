"""Double of a Qdrant server."""
