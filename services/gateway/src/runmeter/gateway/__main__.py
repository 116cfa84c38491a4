"""``python -m runmeter.gateway`` is the program ``gateway``."""

from runmeter.gateway.cli import main

if __name__ == "__main__":
    main()
