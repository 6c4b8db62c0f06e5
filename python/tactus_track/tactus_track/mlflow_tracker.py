"""MLflow by its REST API (/api/2.0/mlflow), without its client.

Each step once: the server is asked for the last step it has before anything is sent, and a call takes steps whole or not at
all, as the server's database does. A call that was lost on the way back and is sent again changes nothing: times are those of
the run, so its rows are the same to the bit.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Mapping, Sequence

from .follow import Refused, Unavailable
from .run_folder import Identity, Step

log = logging.getLogger("tactus_track")

TAG = "tactus.run"
METRICS_A_CALL, SETTINGS_A_CALL = 1000, 100  # MLflow's own limits
SETTING_CHARS = 500  # of servers before 2.8; newer ones take more
TIMEOUT_S = 30
MAX_REPLY_BYTES = 16 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Mlflow:
    def __init__(self, server: str, experiment: str, name: str, identity: Identity, settings: Mapping[str, str],
                 token_file: pathlib.Path | None = None):
        url = urllib.parse.urlsplit(server)
        if url.scheme not in ("http", "https") or not url.hostname or url.username:
            raise Refused(f"--server {server}: expected http://HOST:PORT or https://HOST, and what proves who you are in --token-file")
        if token_file is not None and url.scheme == "http" and url.hostname not in LOOPBACK:
            log.warning("the token goes to %s unencrypted: https:// would hide it", url.hostname)
        self._server = server.rstrip("/")
        self._experiment, self._name, self._identity, self._settings = experiment, name, identity, settings
        self._token_file = token_file
        self._opener = urllib.request.build_opener(_NoRedirect())
        self._run = ""

    def open(self) -> int:
        try:
            return self._found_or_made()
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise Unavailable(f"MLflow at {self._server} answers not as MLflow does: {error!r}") from None

    def _found_or_made(self) -> int:
        experiment = self._experiment_id()
        found = self._call("runs/search", {"experiment_ids": [experiment], "filter": f"tags.\"{TAG}\" = '{self._identity.id}'",
                                           "max_results": 1}).get("runs", [])
        if found:
            run = found[0]
        else:
            run = self._call("runs/create", {"experiment_id": experiment, "run_name": self._name, "start_time": self._at_ms(0),
                                             "tags": [{"key": TAG, "value": self._identity.id}]})["run"]
        self._run = run["info"]["run_id"]
        data = run.get("data", {})
        self._send_settings({one["key"] for one in data.get("params", [])})
        if run["info"].get("status") != "RUNNING":
            self._call("runs/update", {"run_id": self._run, "status": "RUNNING"})
        return max((int(one.get("step", 0)) for one in data.get("metrics", [])), default=0)

    def send(self, steps: Sequence[Step]) -> None:
        batch: list[dict[str, Any]] = []
        for step in steps:
            rows = [{"key": key, "value": value, "timestamp": self._at_ms(step.time_s), "step": step.number}
                    for key, value in step.metrics.items()]
            if len(batch) + len(rows) > METRICS_A_CALL:
                self._call("runs/log-batch", {"run_id": self._run, "metrics": batch})
                batch = []
            batch += rows
        if batch:
            self._call("runs/log-batch", {"run_id": self._run, "metrics": batch})

    def close(self, complete: bool) -> None:
        if complete:
            self._call("runs/update", {"run_id": self._run, "status": "FINISHED"})

    def _at_ms(self, time_s: float) -> int:
        return round(1000 * (self._identity.begin_s + time_s))

    def _experiment_id(self) -> str:
        by_name = "experiments/get-by-name?" + urllib.parse.urlencode({"experiment_name": self._experiment})
        try:
            return self._call(by_name)["experiment"]["experiment_id"]
        except _NotThere:
            return self._call("experiments/create", {"name": self._experiment})["experiment_id"]

    def _send_settings(self, there: set[str]) -> None:
        """Those it lacks: MLflow takes no second value."""
        rows = [{"key": key, "value": value[:SETTING_CHARS]} for key, value in self._settings.items() if value and key not in there]
        for start in range(0, len(rows), SETTINGS_A_CALL):
            self._call("runs/log-batch", {"run_id": self._run, "params": rows[start : start + SETTINGS_A_CALL]})

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST with a body, GET without."""
        request = urllib.request.Request(f"{self._server}/api/2.0/mlflow/{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self._token_file is not None:
            request.add_header("Authorization", authorization(self._token_file))
        what = f"MLflow at {self._server}"
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                reply = json.loads(answer.read(MAX_REPLY_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                raise _told(what, path.partition("?")[0], error) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{what} cannot be reached: {getattr(error, 'reason', None) or error!r}") from None
        except ValueError:
            raise Unavailable(f"{what} answers with something that is no JSON") from None
        if not isinstance(reply, dict):
            raise Unavailable(f"{what} answers with something that is no JSON object")
        return reply


class _NotThere(Refused):
    pass


def _told(what: str, path: str, error: urllib.error.HTTPError) -> Exception:
    try:
        said = json.loads(error.read(MAX_REPLY_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        said = {}
    said = said if isinstance(said, dict) else {}
    sentence = f"{what} answers {path} with {error.code}: {said.get('message') or error.reason}"
    if error.code == 404 and said.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return _NotThere(sentence)
    if error.code in (401, 403):
        return Refused(f"{sentence}; expected a file with the server's token, or USER:PASSWORD, in --token-file")
    if 300 <= error.code < 500 and error.code not in (408, 429):
        return Refused(sentence)
    return Unavailable(sentence)


def authorization(token_file: pathlib.Path) -> str:
    """The header's value, read anew for every call, as tokens are replaced while a run goes on."""
    try:
        token = token_file.read_text().strip()
    except (OSError, ValueError) as error:
        raise Refused(f"--token-file {token_file}: {error}") from None
    if not token or len(token.splitlines()) != 1 or not token.isprintable():
        raise Refused(f"--token-file {token_file}: expected one line, a token or USER:PASSWORD")
    if ":" in token:
        return "Basic " + base64.b64encode(token.encode()).decode()
    return f"Bearer {token}"
