"""The checks of the contract, ending in ``InvalidRequest``."""

from runmeter.receiver.errors import InvalidRequest, Violation
from runmeter.v1 import checks


class Checks(checks.Checks):
    """Collects violations; ``close`` raises them."""

    def close(self) -> None:
        """Raise InvalidRequest if anything was found."""
        if self.found_count:
            listed = tuple(Violation(*violation) for violation in self.violations)
            raise InvalidRequest(listed, self.omitted_count)
