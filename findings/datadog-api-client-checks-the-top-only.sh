#!/usr/bin/env bash
# datadog-api-client 2.62.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a dashboard given as a dict (from a file, as one keeps them) is checked at its top level only. A widget of an unknown type, one
#   without its required requests, a misspelt enum or a misspelt key goes through Dashboard(**d) and create_dashboard() without a word: what
#   does not fit becomes an UnparsedObject, marked by a private attribute, and is sent as it is. The same widget made by
#   its own class raises TypeError.
# Expected: typed models refuse what they have no type for, so they are used in CI to check JSON. Here the first to refuse is
#   Datadog, at the deployment; the misspelt key not even marks anything.
# Output seen:
#   right: accepted, sent as it is, marked False
#   unknown type: accepted, sent as it is, marked True
#   requests missing: accepted, sent as it is, marked True
#   misspelt enum: accepted, sent as it is, marked True
#   misspelt key: accepted, sent as it is, marked False
#   top level, layout_type missing: TypeError
#   TimeseriesWidgetDefinition without requests: TypeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog-api-client==2.62.0
cat > "$work/probe.py" <<'PY'
import http.server, json, sys, threading
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.timeseries_widget_definition import TimeseriesWidgetDefinition

received = []

class Datadog(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received.append(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

def widget(**more):
    return {"type": "timeseries", "requests": [{"q": "avg:load{*}", "display_type": "line"}], **more}

WIDGETS = {
    "right": widget(),
    "unknown type": widget(type="timeserie"),
    "requests missing": {"type": "timeseries"},
    "misspelt enum": widget(requests=[{"q": "avg:load{*}", "display_type": "lines"}]),
    "misspelt key": widget(titel="Load"),
}
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Datadog)
threading.Thread(target=server.serve_forever, daemon=True).start()
settings = Configuration(host=f"http://127.0.0.1:{server.server_port}", api_key={"apiKeyAuth": "none", "appKeyAuth": "none"})
settings.server_index = None
seen = []

def note(name, what):
    seen.append(what)
    print(f"{name}: {what}")

with ApiClient(settings) as client:
    for name, definition in WIDGETS.items():
        board = {"title": "Board", "layout_type": "ordered", "widgets": [{"definition": definition}]}
        model = Dashboard(**board)
        DashboardsApi(client).create_dashboard(body=model)
        note(name, f"accepted, sent {'as it is' if received[-1] == board else 'otherwise'}, marked {model._unparsed}")
for name, make in {
    "top level, layout_type missing": lambda: Dashboard(title="Board", widgets=[]),
    "TimeseriesWidgetDefinition without requests": lambda: TimeseriesWidgetDefinition(type="timeseries"),
}.items():
    try:
        make()
        note(name, "accepted")
    except Exception as error:
        note(name, type(error).__name__)
sys.exit(seen != [f"accepted, sent as it is, marked {marked}" for marked in (False, True, True, True, False)] + ["TypeError"] * 2)
PY
env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py"
