"""An archive into an index: scan, decode, segment, embed, store."""
