"""Data, captions, augmentation, sampling, losses and the loop; recipes are TOML. Needs the train extra."""
