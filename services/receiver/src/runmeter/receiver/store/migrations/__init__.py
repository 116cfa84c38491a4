"""The schema, step by step. Index operations are written by hand: see the tests of the store."""
