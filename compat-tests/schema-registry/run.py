"""A schema registry, which keeps all it knows in one compacted topic and elects a master in a group of a type of its own (`sr`): two of
them take schemas, compaction takes records out, one dies, and both start over from what is left.

The registry is Karapace 3.16, as that needs nothing but Python; no package index has it. `KARAPACE` names a folder with its sources, in
which `KARAPACE_VERSION=3.16.0 python version.py` was run; `scripts/setup.sh --matrix` installs what it needs.
"""

import json
import os
import tempfile
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from checks import KAFKA, check, expect, fresh_name, run_checks
from programs import GET_THEM, TOOLS, give_up
from rest_program import COMPACTED_SOON, WAIT_S, RestProgram, taken_out, until

PYTHON = TOOLS / "python" / "schema-registry" / "bin" / "python"
SOURCES = Path(os.environ.get("KARAPACE", "/nowhere"))


class Registry(RestProgram):
    """One process of it."""

    def __init__(self, folder: Path, topic: str, group: str):
        super().__init__(folder)
        self.settings.write_text(json.dumps({
            "bootstrap_uri": KAFKA, "host": "127.0.0.1", "port": self.port, "advertised_hostname": "127.0.0.1", "topic_name": topic,
            "group_id": group, "client_id": f"sr-{self.port}", "karapace_registry": True, "log_level": "WARNING",
            "session_timeout_ms": 6000}))

    def start(self) -> None:
        """Returns at once."""
        self.run([PYTHON, "-m", "karapace.karapace_all", self.settings], cwd=SOURCES, env={**os.environ, "PYTHONPATH": str(SOURCES)})

    def register(self, subject: str, fields: int) -> int:
        """The id of a schema with so many fields."""
        named = [{"name": f"f{field}", "type": ["null", "string"], "default": None} for field in range(fields)]
        schema = json.dumps({"type": "record", "name": "r", "fields": named})
        return self.ask("POST", f"/subjects/{subject}/versions", {"schema": schema})["id"]

    def knows(self) -> dict[str, object]:
        """All that it was told."""
        return {subject: (self.ask("GET", f"/config/{subject}"),
                          [self.ask("GET", f"/subjects/{subject}/versions/{version}")
                           for version in self.ask("GET", f"/subjects/{subject}/versions")])
                for subject in self.ask("GET", "/subjects")}


@check("two schema registries agree, over a compaction of their topic, a death, and a restart of both")
def registries() -> None:
    with tempfile.TemporaryDirectory(prefix="compat-registry-") as name:
        topic, group = fresh_name("schemas"), fresh_name("registry")
        new = NewTopic(topic, 1, 1, config={"cleanup.policy": "compact", **COMPACTED_SOON})
        admin = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})
        admin.create_topics([new])[topic].result(WAIT_S)
        pair = [Registry(Path(name), topic, group) for _ in range(2)]
        first, second = pair
        try:
            for registry in pair:
                registry.start()
            until("both answer", lambda: all(registry.ask("GET", "/subjects") == [] for registry in pair))
            until("there is a master", lambda: first.register("kept-0", 1) == second.register("kept-0", 1))
            for turn in range(1, 13):
                subject = f"kept-{turn % 3}"
                pair[turn % 2].register(subject, turn)
                pair[turn % 2].ask("PUT", f"/config/{subject}", {"compatibility": ("NONE", "FULL", "BACKWARD")[turn // 3 % 3]})
                first.register("gone", turn)
                first.ask("DELETE", "/subjects/gone")
                first.ask("DELETE", "/subjects/gone?permanent=true")
            until(f"{topic} is compacted", lambda: taken_out(topic) > 0)
            until("both know the same", lambda: first.knows() == second.knows())
            known = first.knows()
            expect(sorted(known), ["kept-0", "kept-1", "kept-2"], "subjects")
            first.end(kill=True)
            until("the other is master", lambda: second.register("kept-0", 20) > 0)
            known = second.knows()
            second.end()
            for registry in pair:
                registry.start()
            until("both know it again", lambda: all(registry.knows() == known for registry in pair))
            until("and go on", lambda: first.register("kept-1", 21) == second.register("kept-1", 21))
        except AssertionError as error:
            raise AssertionError(f"{error} {' '.join(registry.log.read_text()[-300:] for registry in pair)}") from None
        finally:
            for registry in pair:
                registry.end(kill=True)


if __name__ == "__main__":
    if not (SOURCES / "karapace" / "version.py").exists() or not PYTHON.exists():
        give_up("schema-registry", f"KARAPACE names no sources of Karapace, or {GET_THEM}")
    run_checks()
