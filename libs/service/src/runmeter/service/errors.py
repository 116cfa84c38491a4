"""Errors that end a program before it serves.

StartupError
├── ConfigurationError      exit 2: a flag or variable is missing or bad
└── AddressUnusable         exit 1: the address to listen on cannot be bound
"""


class StartupError(Exception):
    """The program cannot start; the text is the sentence for the user."""

    exit_code = 1


class ConfigurationError(StartupError):
    """A flag or variable is missing or bad."""

    exit_code = 2


class AddressUnusable(StartupError):
    """The address to listen on cannot be bound."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address = address
        self.reason = reason
