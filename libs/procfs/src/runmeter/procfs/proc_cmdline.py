"""/proc/<pid>/cmdline: its first word only, because command lines hold secrets.

The reader reads at most READ_BYTES_MAX; what follows the first NUL is never returned.
"""

from runmeter.procfs.names import decode_name

READ_BYTES_MAX = 4096


def parse_argv0(raw: bytes) -> str:
    """Return ``argv[0]`` of ``/proc/<pid>/cmdline``, decoded.

    Empty for kernel threads, zombies and processes that emptied it. A process may write any text
    here, so callers keep the base name at most.

    Source: proc_pid_cmdline(5).
    """
    return decode_name(raw[:READ_BYTES_MAX].partition(b"\0")[0])
