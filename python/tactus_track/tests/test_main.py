import contextlib
import io
import pathlib
import tempfile
import unittest

from tactus_track.__main__ import main
from tactus_track.run_folder import Note

from . import runs
from .test_mlflow import Server


class Main(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.run_folder = runs.write(pathlib.Path(scratch.name, "a"), range(1, 31), total=30)
        self.server = Server()
        self.addCleanup(self.server.end)

    def call(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main([str(self.run_folder), "mlflow", "--server", self.server.address, *arguments])
        return code, said.getvalue()

    def test_sends_a_run_that_is_over_and_ends(self):
        self.assertEqual(self.call()[0], 0)
        self.assertEqual([row[2] for row in self.server.rows if row[1] == "reward_mean"], list(range(1, 31)))
        (sent,) = self.server.runs.values()
        self.assertEqual((sent["name"], sent["status"], sent["params"]["learner.steps"]), ("a", "FINISHED", "30"))
        self.assertEqual(self.call("--once")[0], 0)
        self.assertEqual(len(self.server.runs), 1)

    def test_exit_codes_are_those_of_tactus(self):
        self.server.faults = [401]
        code, said = self.call("--once")
        self.assertEqual((code, said.count("tactus-track: error: MLflow at")), (2, 1))
        self.server.faults = [503]
        self.assertEqual(self.call("--once")[0], 1)
        with contextlib.closing(Note(self.run_folder, "mlflow")):
            code, said = self.call("--once")
        self.assertEqual(code, 1)
        self.assertIn("is in use: another tactus-track", said)
        (self.run_folder / "metrics.jsonl").unlink()
        code, said = self.call("--once")
        self.assertEqual(code, 2)
        self.assertIn("holds no metrics.jsonl: expected the folder of a run", said)


if __name__ == "__main__":
    unittest.main()
