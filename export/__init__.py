"""A trained network, or a published checkpoint, into a model folder."""
