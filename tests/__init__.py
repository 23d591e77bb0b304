"""Tests, in folders that mirror the packages; tests of the whole are at the top."""
