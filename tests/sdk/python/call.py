"""Makes one call with the official Python SDK.

Reads {"client": {...}, "method": "trigger", "arguments": {...}} from standard
input and prints what the SDK returns as JSON; an error of the SDK is printed as
{"error": "its class", "message": "its text"}.
"""

import json
import sys

import pusher
import pusher.errors

request = json.load(sys.stdin)
client = pusher.Pusher(**request["client"])
try:
    result = getattr(client, request["method"])(**request["arguments"])
except pusher.errors.PusherError as error:
    result = {"error": type(error).__name__, "message": str(error)}
# The SDK's shared_secret of an encrypted channel is bytes.
json.dump(result, sys.stdout, default=bytes.decode)
