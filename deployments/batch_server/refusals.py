"""What the server refuses to do, and the HTTP status that says so.

Refusal
├── BadRequest   400   the request itself is wrong
├── NotIncluded  402   this server's operator does not offer it
├── NotFound     404   what it names is not here
├── Conflict     409   it contradicts what is here
├── TooLarge     413   it is over a limit
├── TooMany      429   not now: as much is under way as may be
└── NotOffered   501   the contract has it, this server has not
"""


class Refusal(Exception):
    """A request that is answered with an error; the message is one clear line for the client."""

    status = 500
    retry_after: int | None = None
    """Seconds after which the same request may be taken."""


class BadRequest(Refusal):
    """The request itself is wrong."""

    status = 400


class NotIncluded(Refusal):
    """The server's operator has taken it out of what is offered."""

    status = 402


class NotFound(Refusal):
    """What the request names is not here."""

    status = 404


class Conflict(Refusal):
    """The request contradicts what is here."""

    status = 409


class TooLarge(Refusal):
    """The request is over a limit."""

    status = 413


class TooMany(Refusal):
    """As much is under way as may be; later there is room again."""

    status = 429
    retry_after = 30


class NotOffered(Refusal):
    """The contract knows the request, but this server cannot do it."""

    status = 501
