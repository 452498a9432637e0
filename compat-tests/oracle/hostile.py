"""Every API in every version with bodies that are none: nothing, one byte too few, bytes too many."""

from collections.abc import Iterable

from conversation import Conversation
from schemas import Schemas
from script import Case

# A default body of these changes the broker or waits; their cases send real ones.
LEFT_OUT = ("ApiVersions", "ConsumerGroupHeartbeat", "ShareGroupHeartbeat", "StreamsGroupHeartbeat", "UnregisterBroker")


def hostile(versions: dict[str, tuple[int, int]], schemas: Schemas) -> Iterable[Case]:
    """A case for each API."""
    for api in sorted(versions):
        if api not in LEFT_OUT:
            yield Case(api, _case(api, schemas))


def _case(api: str, schemas: Schemas):
    def run(s: Conversation, version: int) -> None:
        body = schemas.requests[api].encode(version, {})
        s.ask_bytes(api, version, body, "defaults")
        if body:
            s.ask_bytes(api, version, b"", "no body")
            s.ask_bytes(api, version, body[:-1], "a byte less")
        s.ask_bytes(api, version, body + b"\0\0\0", "three bytes more")
        s.ask_bytes(api, version, b"\xff" * 64, "all ones")
        s.ask_bytes(api, 99, body, "version 99")
    return run
