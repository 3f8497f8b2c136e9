"""The command ``prefect`` as its entry point starts it, for the fork server, which starts modules."""

from prefect.cli import app

if __name__ == "__main__":
    app()
