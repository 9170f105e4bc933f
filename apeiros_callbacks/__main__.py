"""``python -m apeiros_callbacks``."""

from apeiros_callbacks.cli import main

if __name__ == "__main__":
    main()
