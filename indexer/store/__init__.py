"""The engines under an index, embedded or on a server, behind one interface (base.Store)."""
