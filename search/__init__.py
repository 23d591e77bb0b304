"""Answers to questions about voices: searches, labels, captions, best takes, intelligibility."""
