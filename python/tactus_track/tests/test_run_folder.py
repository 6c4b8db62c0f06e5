import os
import pathlib
import tempfile
import unittest
from unittest import mock

from tactus_track import run_folder
from tactus_track.run_folder import Note, Steps, last_step, settings

from . import runs


class Folder(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.run_folder = runs.write(pathlib.Path(scratch.name, "a"), range(1, 4))


class Follows(Folder):
    def setUp(self):
        super().setUp()
        self.steps = Steps(self.run_folder / "metrics.jsonl")

    def numbers(self, after, at_most=100):
        return [step.number for step in self.steps.after(after, at_most)]

    def test_each_step_once_in_order_as_it_comes(self):
        self.assertEqual(self.numbers(0, 2), [1, 2])
        self.assertEqual(self.numbers(2), [3])
        self.assertEqual(self.numbers(3), [])
        runs.append(self.run_folder, runs.line(4) + runs.line(5)[:20])
        self.assertEqual(self.numbers(3), [4])
        runs.append(self.run_folder, runs.line(5)[20:])
        self.assertEqual(self.numbers(4), [5])

    def test_sources_are_numbers_with_their_names(self):
        sources = {"gsm8k": {"groups": 3.0, "reward_mean": 0.5, "correct_rate": None}, "odd": 7}
        runs.replace(self.run_folder, runs.line(1, sources=sources) + runs.line(2, sources=[1]))
        first, second = self.steps.after(0, 10)
        self.assertEqual({key: value for key, value in first.metrics.items() if key.startswith("source")},
                         {"source_gsm8k/groups": 3.0, "source_gsm8k/reward_mean": 0.5})  # fmt: skip
        self.assertEqual(first.metrics["reward_mean"], 0.01)
        self.assertEqual(second.metrics, {"time_s": 3.0, "reward_mean": 0.02})

    def test_a_file_that_is_not_there_yet_has_no_steps(self):
        steps = Steps(self.run_folder / "none.jsonl")
        self.assertEqual(steps.after(0, 10), [])

    def test_steps_that_a_resumed_run_writes_again_are_not_new(self):
        self.assertEqual(self.numbers(0), [1, 2, 3])
        runs.replace(self.run_folder, runs.line(1) + runs.line(2))
        self.assertEqual(self.numbers(3), [])
        runs.append(self.run_folder, runs.line(3) + runs.line(4))
        self.assertEqual(self.numbers(3), [4])

    def test_a_file_that_is_cut_and_longer_again_is_seen(self):
        for change in (runs.cut, runs.replace):
            with self.subTest(change.__name__):
                runs.write(self.run_folder, range(1, 4))
                steps = Steps(self.run_folder / "metrics.jsonl")
                self.assertEqual([step.number for step in steps.after(0, 100)], [1, 2, 3])
                # Other numbers, and so other lengths, in the steps that come again.
                again = runs.line(1) + "".join(runs.line(n, more=0.123456) for n in range(2, 9))
                change(self.run_folder, again)
                with mock.patch.object(run_folder.log, "warning") as warned:
                    self.assertEqual([step.number for step in steps.after(3, 100)], [4, 5, 6, 7, 8])
                warned.assert_not_called()

    def test_a_replaced_file_is_seen(self):
        self.assertEqual(self.numbers(0), [1, 2, 3])
        runs.replace(self.run_folder, "".join(map(runs.line, range(1, 6))))
        self.assertEqual(self.numbers(3), [4, 5])

    def test_only_finite_numbers_are_metrics(self):
        runs.append(self.run_folder, runs.line(4, loss=None, kl=float("nan"), name="x", ok=True, eval_pass1=1))
        self.assertEqual(self.steps.after(3, 10)[0].metrics, {"time_s": 6.0, "reward_mean": 0.04, "eval_pass1": 1.0})

    def test_a_damaged_line_costs_itself_and_is_named(self):
        for damage in ("{\"step\": 4,\n", "[4]\n", "{\"step\": \"4\"}\n", "\xff\n", "[" * 100000 + "\n"):
            runs.append(self.run_folder, damage)
        runs.append(self.run_folder, "\n" + runs.line(5))
        with self.assertLogs("tactus_track") as logs:
            self.assertEqual(self.numbers(3), [5])
        self.assertEqual(len(logs.output), 5)
        self.assertIn("metrics.jsonl:4 is damaged", logs.output[0])


class Settings(Folder):
    def test_are_the_fields_by_their_paths(self):
        self.assertEqual(settings(self.run_folder / "config.textproto"),
                         {"seed": "1", "model.path": "models/quickstart", "model.prompt_template": "{user}", "task.name": "qa",
                          "task.sources.path": "a.jsonl", "task.sources.2.path": "b.jsonl", "task.system_prompt": "",
                          "learner.steps": "1000"})
        self.assertEqual(last_step(self.run_folder / "config.textproto"), 1000)
        self.assertEqual(settings(self.run_folder / "none"), {})
        self.assertIsNone(last_step(self.run_folder / "none"))


class Identities(Folder):
    def test_stay_and_are_held_by_one(self):
        first = Note(self.run_folder, "mlflow")
        with self.assertRaisesRegex(BlockingIOError, "trackers/mlflow is in use: another tactus-track"):
            Note(self.run_folder, "mlflow")
        other = Note(self.run_folder, "trackio")
        self.assertNotEqual(first.identity.id, other.identity.id)
        self.assertEqual(first.identity.begin_s, os.stat(self.run_folder / "config.textproto").st_mtime)
        first.close()
        again = Note(self.run_folder, "mlflow")
        self.assertEqual(again.identity, first.identity)
        again.close()
        other.close()

    def test_a_damaged_one_is_named(self):
        Note(self.run_folder, "mlflow").close()
        (self.run_folder / "trackers/mlflow/identity.json").write_text("{}")
        with self.assertRaisesRegex(ValueError, "trackers/mlflow/identity.json: .*; expected"):
            Note(self.run_folder, "mlflow")


if __name__ == "__main__":
    unittest.main()
