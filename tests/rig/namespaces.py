"""Mounts and pid namespaces of a test's own, where root may make them."""

import functools
import os
import shutil
import subprocess

import pytest


@functools.cache
def _refusal() -> str:
    """Try once what root cannot do in an ordinary container; empty: it works here."""
    trial = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "true")
    done = subprocess.run(trial, capture_output=True, text=True, timeout=30)
    return done.stderr.strip() if done.returncode else ""


def needs_unshare(*programs: str) -> pytest.MarkDecorator:
    """Return the condition of a test that makes namespaces, and needs further programs for it.

    Root without the right to make them has a reason of its own, which no list of skips admits.
    """
    needed = ("unshare", *programs)
    if os.geteuid() != 0 or not all(map(shutil.which, needed)):
        named = ("root", *needed)
        reason = f"needs {', '.join(named[:-1])} and {named[-1]}"
        return pytest.mark.skipif(True, reason=reason)
    refusal = _refusal()
    return pytest.mark.skipif(bool(refusal), reason=f"needs CAP_SYS_ADMIN: {refusal}")
