"""Checks that Fanfare takes the variables that the chart writes for adapters.

Usage: adapters.py RENDERED FANFARE
"""

import os
import pathlib
import subprocess
import sys

import yaml

# What the secrets of values/adapters.yaml would hold.
SECRETS = {
    "PUSHER_APP_ID": "1",
    "PUSHER_APP_KEY": "my-key",
    "PUSHER_APP_SECRET": "my-secret",
    "RABBITMQ_URL": "amqp://chat:password@rabbitmq/",
    "JWT_SECRET": "what the chat and this server share",
    "FANFARE_ADAPTERS_ROOMS_WEBHOOK_TOKEN": "of-the-back-ends",
}

documents = yaml.safe_load_all(pathlib.Path(sys.argv[1]).read_text())
deployments = [found for found in documents if found and found["kind"] == "Deployment"]
(nodes,) = [found for found in deployments if found["metadata"]["name"] == "test-fanfare"]
container = nodes["spec"]["template"]["spec"]["containers"][0]
environment = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
command = [os.path.abspath(sys.argv[2]), "check-config"]
run = subprocess.run(command, env=environment | SECRETS, capture_output=True, text=True)
if run.returncode != 0:
    sys.exit(f"tests/helm: the chart's adapters are refused: {run.stderr}")
for line in ['queue_mode = "per_node"', "per_node_above = 1000000", '"user.{type}.{userId}.*"']:
    if line not in run.stdout:
        sys.exit(f"tests/helm: {line} is not in {run.stdout}")

selector = nodes["spec"]["selector"]["matchLabels"]
for worker in deployments:
    labels = worker["spec"]["template"]["metadata"]["labels"]
    if worker is not nodes and selector.items() <= labels.items():
        sys.exit(f"tests/helm: {worker['metadata']['name']} is taken for a node")
