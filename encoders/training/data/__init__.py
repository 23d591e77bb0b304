"""Training data: labelled clips, their captions, batches and augmentation."""
