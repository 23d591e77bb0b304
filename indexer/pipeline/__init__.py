"""From recordings to embedded clips: decode, segment, embed, here or on Ray."""
