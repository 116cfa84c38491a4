"""``python -m runmeter.receiver``."""

from runmeter.receiver.cli import main

if __name__ == "__main__":
    main()
