"""What a server offers besides the least."""

from enum import StrEnum


class Feature(StrEnum):
    """What an operator may leave out of a server's plan."""

    GPU = "gpu"
    """Jobs that ask for machines with a GPU."""
    COMPILATION = "compilation"
    """Jobs that compile models."""
    REFERENCES = "references"
    """Ingests whose files the server fetches by itself."""
