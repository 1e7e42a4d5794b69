"""Checks examples/nodes: what its files say fits together, and Fanfare takes it.

No container is started. Usage: compose.py FANFARE
"""

import os
import pathlib
import re
import subprocess
import sys

import yaml

FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "nodes"
GIVEN = {"PUSHER_APP_ID": "1", "PUSHER_APP_KEY": "my-key", "PUSHER_APP_SECRET": "my-secret"}


def check(is_so, what):
    if not is_so:
        sys.exit(f"examples/nodes: {what}")


def value(text):
    """Puts in what the operator has to give: `${NAME:?what is missing}`."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: GIVEN[match[1]], text)


compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
services = compose["services"]
proxy = (FOLDER / "haproxy.cfg").read_text()

for name, service in services.items():
    for other in service.get("depends_on", []):
        check(other in services, f"{name} depends on {other}, which is none of the services")

servers = re.findall(r"^\s+server (\w+) (\w+):(\d+)", proxy, re.MULTILINE)
nodes = {name: service for name, service in services.items() if service["image"] == "fanfare"}
check(len(nodes) == 3, "there are not three nodes")
check({host for _, host, _ in servers} == set(nodes), "the proxy and the nodes do not fit")
check({port for *_, port in servers} == {"6001"}, "the proxy uses a port that is not the nodes'")
check(services["proxy"]["ports"] == ["6001:6001"], "the proxy's port is not 6001")
check("bind :6001" in proxy and "check port 9601" in proxy, "ports of the proxy")
mounted = services["proxy"]["volumes"][0].split(":")[0]
check((FOLDER / mounted).exists(), f"{mounted} does not exist")

for name, node in nodes.items():
    check((FOLDER / node["build"] / "Dockerfile").exists(), "there is no Dockerfile")
    environment = {key: value(text) for key, text in node["environment"].items()}
    redis = environment["FANFARE_ENGINE_URL"].removeprefix("redis://").split(":")[0]
    check(redis in services, f"{name} looks for Redis at {redis}")
    # As the image sets it.
    environment["FANFARE_SERVER_HOST"] = "0.0.0.0"
    command = [os.path.abspath(sys.argv[1]), "check-config"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    check(run.returncode == 0, f"{name} does not start: {run.stderr}")
    check("is ignored" not in run.stdout + run.stderr, f"{name}: {run.stdout}")
