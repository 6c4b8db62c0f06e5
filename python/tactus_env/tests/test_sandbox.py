import concurrent.futures
import contextlib
import os
import pathlib
import platform
import socket
import tempfile
import unittest
from unittest import mock

from tactus_env import sandbox
from tactus_env.sandbox import SandboxError, run

HERE = platform.system() == "Linux" and platform.machine() == "x86_64"


def own_children() -> set[str]:
    """Also those of other tests, which may still be running. A thread may end between being listed and being read: it has no children."""
    children = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children.update((task / "children").read_text().split())
    return children



@unittest.skipUnless(HERE, "the sandbox is for Linux on x86-64")
class Sandbox(unittest.TestCase):
    def refused(self, program):
        """What a program that tries something and says so prints: "refused", or what came of it."""
        indented = "\n    ".join(program.splitlines())
        result = run(f"try:\n    {indented}\n    print('done')\nexcept (PermissionError, OSError, MemoryError) as e:\n    print('refused')",
                     timeout_s=20)
        self.assertEqual(result.stdout, "refused\n", program)

    def test_a_program_computes_and_prints(self):
        result = run("import math, json, re, random, collections, fractions\nprint(json.dumps(math.comb(40, 20)))", timeout_s=20)
        self.assertEqual((result.ok, result.stdout, result.reason), (True, "137846528820\n", "ok"))

    def test_how_it_ended_is_told(self):
        self.assertEqual(run("raise ValueError", timeout_s=20).reason, "failed")
        self.assertEqual(run("this is no program", timeout_s=20).reason, "failed")
        self.assertEqual(run("print('before', flush=True)\nwhile True: pass", timeout_s=2).reason, "timed_out")
        self.assertEqual(run("import time\ntime.sleep(60)", timeout_s=2).reason, "timed_out")
        self.assertEqual(run("while True: print('x' * 1000)", timeout_s=20).reason, "too_much_output")
        self.assertTrue(run("x = '" + "y" * 300000 + "'\nprint(len(x))", timeout_s=20).ok)

    def test_there_is_no_network(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            self.refused(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)")
        self.refused("import socket\nsocket.socketpair()")
        self.refused("import socket\nsocket.socket(socket.AF_UNIX)")

    def test_nothing_is_changed(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            kept = os.path.join(folder, "kept")
            with open(kept, "w") as file:
                file.write("as it was")
            os.chmod(kept, 0o666)
            for attempt in (f"open({folder + '/new'!r}, 'w')", f"open({kept!r}, 'w')", f"open({kept!r}, 'r+')", f"open({kept!r}, 'a')",
                            f"import os\nos.remove({kept!r})", f"import os\nos.rename({kept!r}, {kept + '2'!r})",
                            f"import os\nos.truncate({kept!r}, 0)", f"import os\nos.chmod({kept!r}, 0)",
                            f"import os\nos.mkdir({folder + '/d'!r})", f"import os\nos.symlink({kept!r}, {folder + '/l'!r})",
                            f"import os\nos.open({folder!r}, os.O_RDWR | os.O_TMPFILE)"):  # fmt: skip
                self.refused(attempt)
            self.assertEqual(os.listdir(folder), ["kept"])
            with open(kept) as file:
                self.assertEqual(file.read(), "as it was")

    def test_there_are_no_other_processes(self):
        self.refused("import os\nos.fork()")
        self.refused("import subprocess\nsubprocess.run(['true'])")
        self.refused("import os\nos.execv('/bin/true', ['true'])")
        self.refused(f"import os\nos.kill({os.getpid()}, 0)")
        self.refused("import ctypes\nif ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0) < 0: raise PermissionError")

    def test_memory_is_limited_and_the_environment_is_empty(self):
        self.refused("bytearray(1 << 31)")
        with mock.patch.dict(os.environ, {"SECRET": "s"}):
            result = run("import os\nprint(dict(os.environ))", timeout_s=20)
        self.assertNotIn("SECRET", result.stdout)

    def test_hostile_programs_end_and_hold_up_no_other(self):
        """Each with what it may come to; all at once, with an honest one among them."""
        bomb = "import os, sys\nfor _ in range(10**5):\n    try:\n        os.fork()\n    except OSError:\n        sys.exit('refused')"
        hostile = {
            bomb: {"failed"},
            "import threading\nwhile True: threading.Thread(target=input).start()": {"failed"},
            "x = []\nwhile True: x.append(bytearray(1 << 24)) or len(x) < 40 or exit(0)": {"failed"},  # 16 MiB at a time, of 512
            "x = 'y' * (1 << 30)": {"failed"},
            "x = 9 ** 9 ** 9": {"timed_out"},
            "import re\nre.match('(a+)+$', 'a' * 64 + 'b')": {"timed_out"},
            "import os\nwhile True: os.write(1, b'x' * 65536)": {"too_much_output"},
            "import sys\nwhile True: sys.stderr.write('x' * 65536)": {"timed_out"},  # goes nowhere
            "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()": {"killed", "failed", "timed_out"},
            "f = [open('/dev/null') for _ in range(1000)]": {"failed"},
            "import os, signal\nfor n in (signal.SIGXCPU, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
            "while True: pass": {"timed_out"},
            "import os\nos._exit(0)": {"ok"},
            "import ctypes\nctypes.string_at(0)": {"killed"},
            "import socket\nsocket.getaddrinfo('localhost', 80)": {"failed", "ok"},
        }
        honest, before = "print(sum(range(10)))", own_children()
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda program: run(program, timeout_s=3 if hostile.get(program) == {"timed_out"} else 20),
                                       [*hostile, honest]))
        for program, result in zip(hostile, results):
            with self.subTest(program):
                self.assertIn(result.reason, hostile[program])
                self.assertLessEqual(len(result.stdout), 1 << 20)
        self.assertEqual((results[-1].ok, results[-1].stdout), (True, "45\n"))
        self.assertLessEqual(own_children(), before, "a process is left")

    def test_nothing_is_run_where_it_cannot_be_locked(self):
        with mock.patch.object(sandbox, "JAIL", sandbox.JAIL.with_name("pool.py")), self.assertRaises(SandboxError):
            run("print(1)", timeout_s=20)
        with mock.patch("platform.machine", return_value="aarch64"), self.assertRaises(SandboxError):
            run("print(1)")


if __name__ == "__main__":
    unittest.main()
