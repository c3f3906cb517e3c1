"""``python -m wal_runner`` is ``walrun``."""

from wal_runner.cli.main import main


if __name__ == "__main__":
    main()
