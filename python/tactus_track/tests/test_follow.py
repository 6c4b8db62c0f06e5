import pathlib
import tempfile
import threading
import unittest

from tactus_track.follow import Follower, Refused, Unavailable

from . import runs


class Fake:
    """A tracker with the faults in `script`, one a call: "down"; "lost": taken, and the answer lost; "refused"; or "fine"."""

    def __init__(self, *script):
        self.script, self.has, self.complete, self.opened = list(script), [], None, 0

    def fault(self):
        return self.script.pop(0) if self.script else "fine"

    def answer(self, fault):
        if fault in ("down", "lost"):
            raise Unavailable("the fake is down")
        if fault == "refused":
            raise Refused("the fake does not want it")

    def open(self):
        self.answer(self.fault())
        self.opened += 1
        return self.has[-1] if self.has else 0

    def send(self, steps):
        fault = self.fault()
        if fault in ("fine", "lost"):
            self.has += [step.number for step in steps]
        self.answer(fault)

    def close(self, complete):
        self.complete = complete


class Loop(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.run_folder = runs.write(pathlib.Path(scratch.name, "a"), range(1, 121), total=120)
        self.end = threading.Event()

    def follower(self, tracker):
        return Follower(self.run_folder, tracker, self.end, look_s=0.01)

    def test_sends_each_step_once_and_ends_with_the_run(self):
        tracker = Fake()
        self.assertTrue(self.follower(tracker).run(once=False))
        self.assertEqual(tracker.has, list(range(1, 121)))
        self.assertIs(tracker.complete, True)

    def test_a_call_that_was_lost_on_the_way_back_is_not_sent_twice(self):
        tracker = Fake("fine", "fine", "lost", "down", "fine", "down")
        with self.assertLogs("tactus_track") as logs:
            self.assertTrue(self.follower(tracker).run(once=False))
        self.assertEqual(tracker.has, list(range(1, 121)))
        self.assertEqual(sum("the fake is down; asking again" in line for line in logs.output), 3)

    def test_goes_on_behind_what_the_tracker_has(self):
        tracker = Fake()
        tracker.has = list(range(1, 78))
        self.follower(tracker).run(once=True)
        self.assertEqual(tracker.has, list(range(1, 121)))

    def test_follows_until_the_last_step_is_written(self):
        runs.write(self.run_folder, range(1, 3), total=5)
        tracker = Fake()
        thread = threading.Thread(target=self.follower(tracker).run, args=(False,))
        thread.start()
        runs.append(self.run_folder, runs.line(3) + runs.line(4))
        runs.append(self.run_folder, runs.line(5))
        thread.join(30)
        self.assertFalse(thread.is_alive())
        self.assertEqual(tracker.has, [1, 2, 3, 4, 5])

    def test_an_unfinished_run_stays_open(self):
        runs.write(self.run_folder, range(1, 3), total=5)
        tracker = Fake()
        self.assertTrue(self.follower(tracker).run(once=True))
        self.assertIs(tracker.complete, False)

    def test_a_mistake_ends_it_at_the_start_and_a_refusal_later_does_not(self):
        with self.assertRaises(Refused):
            self.follower(Fake("refused")).run(once=False)
        tracker = Fake("fine", "refused")
        with self.assertLogs("tactus_track"):
            self.assertTrue(self.follower(tracker).run(once=False))
        self.assertEqual(tracker.has, list(range(1, 121)))

    def test_once_tells_of_a_tracker_that_is_down(self):
        with self.assertRaises(Unavailable):
            self.follower(Fake("down")).run(once=True)

    def test_stopped_before_all_is_sent_it_says_so(self):
        self.end.set()
        self.assertFalse(self.follower(Fake()).run(once=False))


if __name__ == "__main__":
    unittest.main()
