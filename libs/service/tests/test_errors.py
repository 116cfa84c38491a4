"""Errors that end a program before it serves."""

from runmeter.service.errors import AddressUnusable, ConfigurationError, StartupError


def test_exit_codes() -> None:
    """Bad settings end with 2, all else that prevents a start with 1."""
    assert (ConfigurationError.exit_code, AddressUnusable.exit_code) == (2, 1)
    assert StartupError.exit_code == 1


def test_an_address_says_where_and_why() -> None:
    """The sentence names the address and the reason."""
    error = AddressUnusable(":8080", "address already in use")
    assert str(error) == "cannot listen on :8080: address already in use"
