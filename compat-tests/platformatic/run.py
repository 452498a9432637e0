"""The checks of @platformatic/kafka, on the Node that comes with its packages: it needs a newer one than systems have."""

from programs import GET_THEM, TOOLS, give_up, run_node

if __name__ == "__main__":
    nodes = sorted((TOOLS / "node" / "platformatic" / "node_modules").glob("node-linux-*/bin/node"))
    if not nodes:
        give_up("platformatic", f"no Node of its own: {GET_THEM}")
    run_node("platformatic", str(nodes[0]))
