"""Stores the runs that collectors push, and answers queries for them."""
