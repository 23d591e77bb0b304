"""Tests of encoders.training."""
