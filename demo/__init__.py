"""A sample archive to try Voxdex on."""
