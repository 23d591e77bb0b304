"""Stand-ins and material for the tests."""
