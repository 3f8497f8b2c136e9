"""What the server refuses to do, and the HTTP status that says so.

Refusal
├── BadRequest  400   the request itself is wrong
├── NotFound    404   what it names is not here
├── Conflict    409   it contradicts what is here
├── TooLarge    413   it is over a limit
└── NotOffered  501   the contract has it, this server has not
"""


class Refusal(Exception):
    """A request that is answered with an error; the message is one clear line for the client."""

    status = 500


class BadRequest(Refusal):
    """The request itself is wrong."""

    status = 400


class NotFound(Refusal):
    """What the request names is not here."""

    status = 404


class Conflict(Refusal):
    """The request contradicts what is here."""

    status = 409


class TooLarge(Refusal):
    """The request is over a limit."""

    status = 413


class NotOffered(Refusal):
    """The contract knows the request, but this server cannot do it."""

    status = 501
