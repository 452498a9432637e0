"""The check of Kafka Streams: a Java program that is compiled where it changed."""

from programs import KAFKA, TESTS, TOOLS, become, java_classes

if __name__ == "__main__":
    jars = sorted((TOOLS / "streams" / "jars").glob("*.jar"))
    become("streams", ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp",
                       java_classes("streams", TESTS / "streams", jars), "WordCount", KAFKA])
