"""Benchmarks: one program per claim, ``python -m bench`` for all. Linux, a C compiler, root.

Every figure is taken side by side with what it is compared to, in one run, in turns. No test
depends on any of them.
"""
