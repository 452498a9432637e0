"""The group checks of the newest Java client: classic and KIP-848 consumers, and the groups of the admin client."""

from programs import KAFKA, TESTS, TOOLS, become, java_classes


def run(client: str) -> None:
    """The programs of this folder on the jars of a client's own."""
    jars = sorted((TOOLS / client / "jars").glob("*.jar"))
    become(client, ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp",
                    java_classes(client, TESTS / "java-groups", jars), "GroupClient", KAFKA])


if __name__ == "__main__":
    run("java-groups")
