"""Speech and text encoders: sound and words into embeddings of one space."""
