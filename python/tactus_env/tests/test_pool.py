import os
import signal
import threading
import time
import unittest

from tactus_env.pool import Died, PoolError, Raised, TimedPool


def work(what):
    if what == "hang":
        time.sleep(3600)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ValueError("no")
    return os.getpid() if what == "pid" else what


class Pool(unittest.TestCase):
    def test_results_come_back_from_other_processes(self):
        with TimedPool(work, processes=2, timeout_s=30) as pool:
            self.assertEqual(pool.call("x"), "x")
            self.assertNotEqual(pool.call("pid"), os.getpid())
            with self.assertRaisesRegex(Raised, "ValueError: no"):
                pool.call("raise")

    def test_what_hangs_or_dies_is_replaced(self):
        with TimedPool(work, processes=1, timeout_s=1) as pool:
            first = pool.call("pid")
            with self.assertRaises(TimeoutError):
                pool.call("hang")
            second = pool.call("pid")
            self.assertNotEqual(first, second)
            with self.assertRaises(ProcessLookupError):
                os.kill(first, 0)
            with self.assertRaises(Died):
                pool.call("die")
            self.assertNotEqual(pool.call("pid"), second)

    def test_calls_are_spread_and_wait_their_turn(self):
        with TimedPool(work, processes=2, timeout_s=30) as pool:
            results = []
            threads = [threading.Thread(target=lambda i=i: results.append(pool.call(i))) for i in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(results), list(range(20)))

    def test_a_closed_pool_has_no_process(self):
        pool = TimedPool(work, processes=1)
        pool.close()
        with self.assertRaises((PoolError, Died)):
            pool.call("x")


if __name__ == "__main__":
    unittest.main()
