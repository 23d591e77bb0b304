"""PyTorch networks: the dual encoder and the towers it is made of. Needed to train and to export, never at run time."""
