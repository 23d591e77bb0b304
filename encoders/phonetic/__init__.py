"""Phonemes and sound in one space, after SCRAPS."""
