"""Compares two records of the same script, and says of each difference whether it is known."""

from dataclasses import dataclass, field

from conversation import CLOSED, SILENT, Exchange, Normal


@dataclass(frozen=True)
class Difference:
    """Where two answers differ; versions are not part of it, so that it is said once."""
    api: str
    label: str
    path: str
    kafka: object
    agent: object

    @property
    def kind(self) -> str:
        """Its class in the table."""
        whole = (CLOSED, SILENT)
        if self.path == "answer" or self.kafka in whole or self.agent in whole:
            return "connection"
        field_name = self.path.rsplit(".", 1)[-1].rstrip("[]")
        if field_name == "ErrorCode":
            return "error code"
        return "text" if field_name in ("ErrorMessage", "BatchIndexErrorMessage", "Documentation") else "value"


@dataclass
class Found:
    """All differences with the versions they were seen in."""
    versions: dict[Difference, set[int]] = field(default_factory=dict)
    compared: int = 0
    unprepared: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kafka: list[Exchange], agent: list[Exchange], addresses: tuple[str, str], prefix: str) -> None:
        """One case in one version."""
        names = Normal(addresses[0], prefix), Normal(addresses[1], prefix)
        for k, a in zip(kafka, agent):
            self.compared += 1
            for path, left, right in _compare("", names[0].of(k.answer), names[1].of(a.answer)):
                self.versions.setdefault(Difference(k.api, k.label, path, left, right), set()).add(k.version)
        if len(kafka) != len(agent):
            missed = kafka[len(agent)] if len(kafka) > len(agent) else agent[len(kafka)]
            sides = (len(kafka), len(agent))
            self.versions.setdefault(Difference(missed.api, missed.label, "answer", *sides), set()).add(missed.version)


def _compare(path: str, kafka: object, agent: object) -> list[tuple[str, object, object]]:
    if isinstance(kafka, dict) and isinstance(agent, dict):
        names = list(kafka) + [name for name in agent if name not in kafka]
        return [found for name in names
                for found in _compare(f"{path}.{name}".lstrip("."), kafka.get(name, "absent"), agent.get(name, "absent"))]
    if isinstance(kafka, list) and isinstance(agent, list) and len(kafka) == len(agent):
        return [found for k, a in zip(kafka, agent) for found in _compare(f"{path}[]", k, a)]
    if kafka == agent:
        return []
    return [(path or "answer", _short(kafka), _short(agent))]


def _short(value: object) -> object:
    """Hashable, and short enough for a line."""
    text = str(value) if isinstance(value, (dict, list)) else value
    return text if not isinstance(text, str) or len(text) <= 160 else text[:157] + "..."


def span(versions: set[int]) -> str:
    """`0-3, 5`."""
    parts, run = [], []
    for version in sorted(versions) + [1 << 30]:
        if run and version != run[-1] + 1:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        run.append(version)
    return ", ".join(parts)
