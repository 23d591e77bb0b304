"""Programs that prepare training data and teachers: python -m voxdex.encoders.training.scripts.NAME."""
