"""The Flask app that somebody would write around a peer: one view launches, one tells the status.

PEER names the module with `send` and `look`. Without it the status is always the same one, in JOB: this is what
Flask and gunicorn cost alone.
"""

import json
import os
from importlib import import_module

from flask import Flask, jsonify

peer = import_module(os.environ["PEER"]) if "PEER" in os.environ else None
job = json.loads(os.environ.get("JOB", "{}"))
app = getattr(peer, "app", None) or Flask(__name__)


@app.post("/launch")
def launch():
    return jsonify(id=peer.send("step")), 202


@app.get("/jobs/<id>")
def status(id):
    if peer is None:
        return jsonify(job)
    progress, ended = peer.look(id)
    return jsonify(id=id, progress=progress, ended=ended)
