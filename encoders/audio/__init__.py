"""Recordings: decoding, voice activity, acoustic measures, files at URLs."""
