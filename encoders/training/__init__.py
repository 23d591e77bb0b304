"""Training: runs, trainers, losses and recipes (TOML). Needs the train extra."""
