"""Delete old runs, a few per transaction.

Age counts from the last push (``updated_at_ms``): an active run is as old as its last checkpoint.
The index is on ``received_at_ms``, which never changes and is never later: a checkpoint does not
change the index, and only runs that were active at the bound are read without being deleted.
"""

from tortoise.transactions import in_transaction

from runmeter.receiver.store.connections import READING, WRITING, using
from runmeter.receiver.store.statements import delete_runs, lock_some


def _expired(before_ms: int, now_ms: int) -> str:
    # whole numbers: nothing to escape. A RUNNING run whose next push is not overdue stays
    return (
        f"FROM run WHERE received_at_ms < {before_ms:d} AND updated_at_ms < {before_ms:d} "
        f"AND (silent_after_ms IS NULL OR silent_after_ms < {now_ms:d})"
    )


async def count_expired(before_ms: int, now_ms: int) -> int:
    """Return how many runs there are to delete.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    async with using(READING, "counting old runs") as connection:
        (row,) = await connection.execute_query_dict(
            f"SELECT COUNT(*) AS run_count {_expired(before_ms, now_ms)}"
        )
    return int(row["run_count"])


async def delete_expired(before_ms: int, now_ms: int) -> int:
    """Delete up to 500 runs in one transaction, oldest first; return how many, 0: none is left.

    Never cancel it. Runs that another transaction has locked are left for the next time.

    Raises:
        StoreUnavailable: the database cannot be written.
    """
    async with using(WRITING, "deleting old runs"):
        return await _delete_some(f"{_expired(before_ms, now_ms)} ORDER BY received_at_ms")


async def _delete_some(expired: str) -> int:
    async with in_transaction(WRITING) as connection:
        ids = await lock_some(connection, expired, "SKIP LOCKED")
        await delete_runs(connection, ids)
    return len(ids)
