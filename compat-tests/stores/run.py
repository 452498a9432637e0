"""Agents on object stores that others wrote: Azurite for Azure Blob Storage, gcp-storage-emulator for Google Cloud Storage.

    run.py [azure|google]…

Each is started here with a container or bucket in it. An orphan is left there and collected; an agent writes and reads, is
killed, and a second one reads everything again, now from the store alone. What is wrong with a store is asked for too: exit code 1 and one line.
"""

import base64
import email.utils
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from agent_process import AgentProcess, free_ports

TOOLS = Path(os.environ["STREAMHOUSE_TOOLS"])
PARTITIONS, RECORDS, RECORD_BYTES = 4, 3_000, 4_000
# The account and key that Azurite documents for everybody.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Server:
    """A process that listens on `port` of loopback."""

    def __init__(self, folder: Path, command: list[str], port: int):
        self._log = (folder / "store.log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=folder)
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, request: urllib.request.Request) -> bytes:
        """The answer, once the server answers at all."""
        for _ in range(200):
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"{request.full_url}: {error.code} {error.read()[:300]!r}") from None
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"{self.url} does not answer")

    def end(self) -> None:
        """Stops it; what it held is gone."""
        self._process.kill()
        self._process.wait()


class Azure(Server):
    """Azurite, which checks signatures."""

    def __init__(self, folder: Path):
        port = free_ports(1)[0]
        azurite = TOOLS / "azurite" / "node_modules" / ".bin" / "azurite-blob"
        command = [str(azurite), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
                   "--skipApiVersionCheck", "--silent"]
        super().__init__(folder, command, port)
        self._signed("PUT", "/records", "restype:container")
        self.whole = (f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                      f"BlobEndpoint={self.url}/{ACCOUNT}")
        self.settings = {"STREAMHOUSE_STORE": "az://records/some/prefix", "AZURE_STORAGE_ACCOUNT": ACCOUNT,
                         "AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_ENDPOINT": f"{self.url}/{ACCOUNT}"}
        wrong = base64.b64encode(b"wrong").decode()
        self.refused = [
            ({"STREAMHOUSE_STORE": "az://other"}, 'container "other" does not exist'),
            ({"AZURE_STORAGE_KEY": wrong}, "does not let these credentials"),
            ({"AZURE_STORAGE_KEY": "no base64!"}, "account_key"),
        ]
        self.also = {"STREAMHOUSE_STORE": "az://records/some/prefix", "AZURE_STORAGE_CONNECTION_STRING": self.whole}

    def _signed(self, method: str, path: str, *parameters: str) -> bytes:
        """A request with the account's key."""
        date = email.utils.formatdate(usegmt=True)
        headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
        resource = "\n".join([f"/{ACCOUNT}/{ACCOUNT}{path}", *parameters])
        text = f"{method}{chr(10) * 12}{headers}{resource}"
        signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        query = "&".join(parameter.replace(":", "=") for parameter in parameters)
        request = urllib.request.Request(f"{self.url}/{ACCOUNT}{path}?{query}", method=method)
        request.add_header("x-ms-date", date)
        request.add_header("x-ms-version", "2021-08-06")
        request.add_header("Authorization", f"SharedKey {ACCOUNT}:{signature}")
        return self.ask(request)

    def objects(self) -> int:
        """Segments in the container."""
        listing = self._signed("GET", "/records", "comp:list", "prefix:some/prefix/org-", "restype:container")
        return listing.count(b"<Blob>")


class Google(Server):
    """gcp-storage-emulator, which knows no credentials."""

    def __init__(self, folder: Path):
        port = free_ports(1)[0]
        super().__init__(folder, [sys.executable, str(Path(__file__).with_name("google_emulator.py")), str(port)], port)
        self.settings = {"STREAMHOUSE_STORE": "gs://records/some/prefix", "STORAGE_EMULATOR_HOST": f"127.0.0.1:{port}"}
        self.refused = [({"STREAMHOUSE_STORE": "gs://other"}, 'bucket "other" does not exist')]
        self.also = {**self.settings, "STORAGE_EMULATOR_HOST": self.url}
        self.objects()

    def objects(self) -> int:
        """Segments in the bucket."""
        listing = f"{self.url}/storage/v1/b/records/o?prefix=some/prefix/org-"
        return len(json.loads(self.ask(urllib.request.Request(listing))).get("items", []))


def produce(kafka: str, topic: str) -> dict[tuple[int, bytes], bytes]:
    """Writes every record with acks=all; what was acked, by partition and key."""
    acked, failed = {}, []
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": 5, "log_level": 3})

    def delivered(error: object, message: object) -> None:
        if error:
            failed.append(str(error))
        else:
            acked[(message.partition(), message.key())] = message.value()

    for number in range(RECORDS):
        value = hashlib.sha256(str(number).encode()).digest() * (RECORD_BYTES // 32)
        while True:
            try:
                producer.produce(topic, value, str(number), number % PARTITIONS, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(30) == 0 and not failed, failed[:3]
    return acked


def consume(kafka: str, topic: str) -> dict[tuple[int, bytes], bytes]:
    """Everything there is, by partition and key."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "unused", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "log_level": 3})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    read, until = {}, time.monotonic() + 20
    while len(read) < RECORDS and time.monotonic() < until:
        for message in consumer.consume(500, 1):
            assert not message.error(), message.error()
            read[(message.partition(), message.key())] = message.value()
    consumer.close()
    return read


def leave_orphan(store: Server, agent: AgentProcess) -> None:
    """An agent that ends between the upload and its commit leaves an object that no record refers to."""
    agent.start(["--stop-at", "after-put"])
    producer = Producer({"bootstrap.servers": agent.kafka, "log_level": 0})
    producer.produce("t", b"never acked")
    producer.poll(0)
    assert agent.wait_exit(20) is not None, "it goes on"
    producer.purge()
    assert store.objects() == 1


def await_no_objects(store: Server) -> None:
    """Garbage collection lists and deletes."""
    until = time.monotonic() + 20
    while store.objects() > 0:
        assert time.monotonic() < until, f"{store.objects()} objects are left"
        time.sleep(0.1)


def round_trip(store: Server, folder: Path) -> None:
    """An orphan is collected; records are written and read through one agent, and read by the next one."""
    settings = {"GARBAGE_INTERVAL": "1", "GARBAGE_GRACE": "0", "NUM_PARTITIONS": str(PARTITIONS)}
    agents = [AgentProcess(folder, settings={**way, **settings}) for way in (store.settings, store.also)]
    try:
        leave_orphan(store, agents[0])
        agents[0].start()
        await_no_objects(store)
        acked = produce(agents[0].kafka, "t")
        assert len(acked) == RECORDS, f"{len(acked)} acks"
        assert consume(agents[0].kafka, "t") == acked, "read otherwise than acked"
        agents[0].kill()
        agents[1].start()
        assert consume(agents[1].kafka, "t") == acked, "read otherwise by the next agent"
        assert agents[1].terminate() == 0, "exit code"
    except Exception:
        print(agents[0].log_end())
        raise
    finally:
        for agent in agents:
            agent.kill()


def is_refused(settings: dict[str, str], said: str, folder: Path) -> None:
    """The agent does not start, and says why on one line."""
    agent = AgentProcess(folder, settings=settings)
    try:
        agent.start()
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("agent: ")]
        assert "exited with 1" in str(error) and len(lines) == 1 and said in lines[0], f"{said!r} in {error}"
        assert KEY not in str(error), "the key was shown"
        return
    agent.kill()
    raise AssertionError(f"started in spite of {said!r}")


def main() -> int:
    """Exit code 0 only if everything held."""
    stores = {"azure": Azure, "google": Google}
    failed = 0
    for name in sys.argv[1:] or stores:
        folder = Path(tempfile.mkdtemp(prefix=f"streamhouse-{name}-"))
        began = time.monotonic()
        store = None
        try:
            store = stores[name](folder)
            round_trip(store, folder / "agent")
            for number, (change, said) in enumerate(store.refused):
                is_refused({**store.settings, **change}, said, folder / f"refused-{number}")
            store.end()
            is_refused(store.settings, "does not answer", folder / "alone")
            print(f"ok   {name}: {time.monotonic() - began:.1f} s", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        finally:
            if store:
                store.end()
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
