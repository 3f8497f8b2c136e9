"""Why something could not be fetched.

FetchFailed               final for this file; `kind` is for programs, the message for people
├── UnsafeUrl             the rules against request forgery forbid it
└── Transient             another try may help
    └── UnknownHost       the name service does not know the host
"""

UNSAFE = "unsafe-url-detected"
UNREACHABLE = "reference-unreachable"
NOT_FOUND = "reference-not-found"
REFUSED = "reference-refused"
TOO_LARGE = "file-size-limit-exceeded"
LONGEST_REASON = 500


class FetchFailed(Exception):
    """It could not be fetched; the message names the URL without its query, which may be a signature."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason[:LONGEST_REASON])
        self.kind = kind
        """What is wrong, in the form of the vendor's failed files."""


class UnsafeUrl(FetchFailed):
    """The URL leads where this server does not go."""

    def __init__(self, shown: str, why: str) -> None:
        super().__init__(UNSAFE, f"Untrusted domain found: {shown} ({why})")
        self.why = why
        """The reason alone, for messages about URLs whose path may be a secret."""


class Transient(FetchFailed):
    """It did not work this time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(UNREACHABLE, reason)
        self.retry_after = retry_after
        """Seconds that the other side asks to wait."""


class UnknownHost(Transient):
    """The name service does not know the host, or does not answer."""

    def __init__(self, shown: str, host: str) -> None:
        super().__init__(f"{shown}: its host is not known to the server's name service")
        self.host = host
        """Its name; after a redirect not that of the URL."""
