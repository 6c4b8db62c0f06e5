import http.server
import json
import pathlib
import tempfile
import threading
import unittest
import urllib.parse

from tactus_track.follow import Refused, Unavailable
from tactus_track.mlflow_tracker import Mlflow, authorization
from tactus_track.run_folder import Identity, Step


class Server(http.server.ThreadingHTTPServer):
    """As much of MLflow as is called, with its database's key: a row that is there already is the same row. `faults` are what
    becomes of the next calls: a status, "lost" (done, and the connection closed) or "fine"."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments, self.runs, self.rows, self.faults, self.headers, self.calls = {}, {}, [], [], [], []
        self.address = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def end(self):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, path, body):
        self.calls.append((path, body))
        name = path.removeprefix("/api/2.0/mlflow/")
        if name.startswith("experiments/get-by-name?"):
            wanted = urllib.parse.parse_qs(name.partition("?")[2])["experiment_name"][0]
            if wanted not in self.experiments:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
            return 200, {"experiment": {"experiment_id": self.experiments[wanted]}}
        if name == "experiments/create":
            self.experiments[body["name"]] = str(len(self.experiments) + 1)
            return 200, {"experiment_id": self.experiments[body["name"]]}
        if name == "runs/search":
            found = [run for run in self.runs.values() if f"'{run['tag']}'" in body["filter"]]
            return 200, {"runs": [self.shown(run) for run in found]} if found else {}
        if name == "runs/create":
            run = {"id": f"r{len(self.runs)}", "tag": body["tags"][0]["value"], "status": "RUNNING", "params": {},
                   "name": body["run_name"]}
            self.runs[run["id"]] = run
            return 200, {"run": self.shown(run)}
        run = self.runs[body["run_id"]]
        if name == "runs/update":
            run["status"] = body["status"]
        elif name == "runs/log-batch":
            self.log(run, body)
        return 200, {}

    def log(self, run, body):
        assert len(body.get("metrics", [])) <= 1000 and len(body.get("params", [])) <= 100
        for one in body.get("params", []):
            assert run["params"].setdefault(one["key"], one["value"]) == one["value"]
        for one in body.get("metrics", []):
            row = (run["id"], one["key"], one["step"], one["timestamp"], one["value"])
            if row not in self.rows:
                self.rows.append(row)

    def shown(self, run):
        latest = {}
        for _, key, step, at, value in [row for row in self.rows if row[0] == run["id"]]:
            latest[key] = {"key": key, "value": value, "step": str(step), "timestamp": at}
        return {"info": {"run_id": run["id"], "status": run["status"]},
                "data": {"metrics": list(latest.values()), "params": [{"key": k, "value": v} for k, v in run["params"].items()]}}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        self.server.headers.append(self.headers.get("Authorization"))
        fault = self.server.faults.pop(0) if self.server.faults else "fine"
        status, reply = (fault, {"message": "by order"}) if isinstance(fault, int) else self.server.answer(self.path, body)
        if fault == "lost":
            self.close_connection = True
            return
        data = json.dumps(reply).encode()
        if fault in ("html", "other"):
            status, data = 200, b"<html>" if fault == "html" else b'{"runs": []}'
        self.send_response(status)
        if status in (301, 307):
            self.send_header("Location", self.server.address + "/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def step(number, metrics=3):
    return Step(number, 1.5 * number, {f"m{i}": number + i / 8 for i in range(metrics)})


class Client(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.end)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.token = pathlib.Path(scratch.name, "token")

    def mlflow(self, **options):
        settings = {f"field.{i}": str(i) for i in range(150)} | {"empty": "", "long": "x" * 9999}
        return Mlflow(self.server.address + "/", "tactus", "a", Identity("id-1", 1000.0), settings, **options)

    def steps(self):
        return [row[2] for row in self.server.rows if row[1] == "m0"]

    def test_makes_an_experiment_and_a_run_with_its_settings(self):
        self.assertEqual(self.mlflow().open(), 0)
        run = self.server.runs["r0"]
        self.assertEqual((run["tag"], run["name"], run["status"]), ("id-1", "a", "RUNNING"))
        self.assertEqual(len(run["params"]), 151)
        self.assertEqual(len(run["params"]["long"]), 500)

    def test_numbers_have_the_times_and_steps_of_the_run(self):
        mlflow = self.mlflow()
        mlflow.open()
        mlflow.send([step(1), step(2)])
        self.assertEqual(self.server.rows, [("r0", f"m{i}", n, round(1000 * (1000 + 1.5 * n)), n + i / 8) for n in (1, 2) for i in range(3)])

    def test_a_second_process_finds_the_run_and_where_it_stands(self):
        first = self.mlflow()
        first.open()
        first.send([step(n) for n in range(1, 8)])
        first.close(True)
        self.assertEqual(self.server.runs["r0"]["status"], "FINISHED")
        self.assertEqual(self.mlflow().open(), 7)
        self.assertEqual(len(self.server.runs), 1)
        self.assertEqual(self.server.runs["r0"]["status"], "RUNNING")

    def test_no_call_is_larger_than_it_may_be_and_none_splits_a_step(self):
        mlflow = self.mlflow()
        mlflow.open()
        mlflow.send([step(n, 400) for n in range(1, 8)])
        sent = [body["metrics"] for path, body in self.server.calls if path.endswith("log-batch") and "metrics" in body]
        self.assertEqual([len(metrics) for metrics in sent], [800, 800, 800, 400])
        self.assertEqual(len(self.server.rows), 2800)

    def test_what_was_taken_and_not_answered_is_there_once(self):
        mlflow = self.mlflow()
        mlflow.open()
        self.server.faults = ["lost"]
        with self.assertRaises(Unavailable):
            mlflow.send([step(1)])
        self.assertEqual(mlflow.open(), 1)
        mlflow.send([step(1), step(2)])  # even then
        self.assertEqual(self.steps(), [1, 2])

    def test_faults_are_told_apart(self):
        for fault, error, words in ((503, Unavailable, "answers experiments/get-by-name with 503: by order"), (429, Unavailable, "429"),
                                    ("html", Unavailable, "no JSON"), ("other", Unavailable, "not as MLflow does"),
                                    ("lost", Unavailable, "cannot be reached"), (400, Refused, "400"),
                                    (404, Refused, "404"), (401, Refused, "--token-file"), (301, Refused, "301"), (307, Refused, "307")):
            with self.subTest(fault):
                self.server.faults = [fault]
                with self.assertRaisesRegex(error, words):
                    self.mlflow().open()
        self.assertNotIn("/elsewhere", [path for path, _ in self.server.calls])
        other = Server()
        other.end()
        with self.assertRaisesRegex(Unavailable, "MLflow at http://127.0.0.1:.* cannot be reached"):
            Mlflow(other.address, "e", "n", Identity("i", 0), {}).open()

    def test_the_token_is_read_from_its_file_for_every_call(self):
        self.token.write_text("one\n")
        mlflow = self.mlflow(token_file=self.token)
        mlflow.open()
        self.token.write_text("user:secret")
        mlflow.send([step(1)])
        self.assertEqual(set(self.server.headers[:-1]), {"Bearer one"})
        self.assertEqual(self.server.headers[-1], "Basic dXNlcjpzZWNyZXQ=")

    def test_bad_tokens_and_addresses_are_named(self):
        for text in ("", "two\nlines", "a\x01b"):
            self.token.write_text(text)
            with self.subTest(text), self.assertRaisesRegex(Refused, "expected one line, a token or USER:PASSWORD"):
                authorization(self.token)
        with self.assertRaisesRegex(Refused, "No such file"):
            authorization(self.token.with_name("none"))
        for server in ("ftp://a", "http://", "a:5000", "http://user:secret@a"):
            with self.subTest(server), self.assertRaisesRegex(Refused, "--server .*: expected http://HOST:PORT"):
                Mlflow(server, "e", "n", Identity("i", 0), {})
        with self.assertLogs("tactus_track") as logs:
            Mlflow("http://tracker.example", "e", "n", Identity("i", 0), {}, self.token)
        self.assertIn("unencrypted", logs.output[0])


if __name__ == "__main__":
    unittest.main()
