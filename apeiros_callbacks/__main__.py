"""``python -m apeiros_callbacks``."""

from apeiros_callbacks.commands import main

if __name__ == "__main__":
    main()
