"""A broker that acknowledges every produce request and keeps nothing: what the client and loopback alone can do.

Serves just what librdkafka 2.0.2 needs to produce: ApiVersions 0, Metadata 4, InitProducerId 0, Produce 7 (schemas: Kafka's
message definitions, all before flexible versions). Run as a process of its own; prints its address, ends with its
standard input.
"""

import os
import socket
import struct
import sys
import threading

PRODUCE, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 3, 18, 22
SERVED = ((PRODUCE, 0, 7), (METADATA, 0, 4), (API_VERSIONS, 0, 0), (INIT_PRODUCER_ID, 0, 0))
PARTITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
UNSUPPORTED_VERSION = 35


def string(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def take_string(data: memoryview, at: int) -> tuple[bytes, int]:
    size = max(struct.unpack_from(">h", data, at)[0], 0)
    return bytes(data[at + 2:at + 2 + size]), at + 2 + size


def metadata(data: memoryview, at: int, port: int) -> bytes:
    count = struct.unpack_from(">i", data, at)[0]
    at, topics = at + 4, b""
    for _ in range(max(count, 0)):
        name, at = take_string(data, at)
        topics += struct.pack(">h", 0) + string(name) + b"\0" + struct.pack(">i", PARTITIONS)
        topics += b"".join(struct.pack(">hiiiiii", 0, p, 0, 1, 0, 1, 0) for p in range(PARTITIONS))
    brokers = struct.pack(">ii", 1, 0) + string(b"127.0.0.1") + struct.pack(">ih", port, -1)
    return struct.pack(">i", 0) + brokers + string(b"discard") + struct.pack(">ii", 0, max(count, 0)) + topics


def produced(data: memoryview, at: int) -> bytes:
    _, at = take_string(data, at)
    topics = struct.unpack_from(">i", data, at + 6)[0]
    at, answer = at + 10, struct.pack(">i", topics)
    for _ in range(topics):
        name, at = take_string(data, at)
        partitions = struct.unpack_from(">i", data, at)[0]
        at, answer = at + 4, answer + string(name) + struct.pack(">i", partitions)
        for _ in range(partitions):
            partition, size = struct.unpack_from(">ii", data, at)
            at, answer = at + 8 + size, answer + struct.pack(">ihqqq", partition, 0, 0, -1, 0)
    return answer + struct.pack(">i", 0)


def answer_of(data: memoryview, port: int) -> bytes:
    key, version, correlation = struct.unpack_from(">hhi", data, 0)
    _, at = take_string(data, 8)
    if key == API_VERSIONS:
        body = struct.pack(">hi", UNSUPPORTED_VERSION if version else 0, len(SERVED))
        body += b"".join(struct.pack(">hhh", *api) for api in SERVED)
    elif key == METADATA:
        body = metadata(data, at, port)
    elif key == INIT_PRODUCER_ID:
        body = struct.pack(">ihqh", 0, 0, 7, 0)
    else:
        body = produced(data, at)
    return struct.pack(">ii", 4 + len(body), correlation) + body


def serve(connection: socket.socket, port: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frame = bytearray(8 << 20)
    with connection:
        while True:
            for start, wanted in ((0, 4), (4, None)):
                wanted = struct.unpack_from(">i", frame, 0)[0] if wanted is None else wanted
                view, got = memoryview(frame)[start:start + wanted], 0
                while got < wanted:
                    read = connection.recv_into(view[got:])
                    if read == 0:
                        return
                    got += read
            connection.sendall(answer_of(memoryview(frame)[4:4 + wanted], port))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(f"127.0.0.1:{port}", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], port), daemon=True).start()


main()
