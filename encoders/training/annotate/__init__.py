"""Manifests of unlabelled recordings: acoustic measures, labels and captions."""
