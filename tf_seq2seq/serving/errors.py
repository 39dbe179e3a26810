"""What can go wrong between a client and a server.

::

    ServingError
      Unreachable      no server answers there, or the connection broke; tried again
      Busy             the server has too much to do; tried again
      Timeout          the answer took too long
      BadRequest       the server refused what it was asked; the message is its own
        NotFound       it has no such model or version
      ServerError      the server failed, or what answers is no model server
"""


class ServingError(Exception):
    """A request that got no answer."""


class Unreachable(ServingError):
    """No server answers there, or the connection broke."""


class Busy(ServingError):
    """The server has too much to do, or is not ready yet."""


class Timeout(ServingError):
    """The answer took longer than the client's time-out."""


class BadRequest(ServingError):
    """The server refused what it was asked; the message is the server's own."""


class NotFound(BadRequest):
    """The server has no such model, version or path."""


class ServerError(ServingError):
    """The server failed, or what answers is no model server."""
