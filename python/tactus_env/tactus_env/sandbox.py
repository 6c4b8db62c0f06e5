"""Runs a Python program that a model wrote, in a process that can compute and print and nothing else.

    result = run("print(2 + 3)", timeout_s=5)
    result.ok, result.stdout    # True, "5\\n"

The process gets a filter of system calls (seccomp) before the program's first line: files can be opened for reading alone, and
there are no sockets, no new processes, no signals to others, no changes of files, owners or mounts. It has limits of memory, CPU
time, file size and open files, an empty environment, the root folder for its own, and where the server runs as root it becomes
nobody, if nobody can read Python's library. If any of this cannot be had, run() raises SandboxError and nothing is run. x86-64 Linux only.

What it does not hide: files that its user may read. It cannot send them anywhere but into its own output.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import selectors
import signal
import subprocess
import sys
import time

JAIL = pathlib.Path(__file__).with_name("_jail.py")
READY = b"jailed\n"
CHUNK = 65536


class SandboxError(Exception):
    """The program was not run."""


@dataclasses.dataclass(frozen=True)
class Result:
    ok: bool  # it ended by itself, with exit code 0
    stdout: str
    reason: str  # "ok", "failed", "timed_out", "too_much_output", "killed"


def run(program: str, *, timeout_s: float = 5.0, memory_mib: int = 512, max_output_bytes: int = 1 << 20) -> Result:
    """Blocks for at most about timeout_s. Thread-safe."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SandboxError("the sandbox knows the system calls of Linux on x86-64 alone")
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(JAIL), str(memory_mib << 20), str(max(1, int(timeout_s + 1)))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={},
                               cwd="/", start_new_session=True, close_fds=True)
    try:
        return _follow(process, program.encode(errors="replace"), timeout_s, max_output_bytes)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


def _follow(process: subprocess.Popen, program: bytes, timeout_s: float, max_output_bytes: int) -> Result:
    deadline = time.monotonic() + timeout_s
    for stream in (process.stdin, process.stdout):
        os.set_blocking(stream.fileno(), False)
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        reading = True
        while reading:
            left = deadline - time.monotonic()
            if left <= 0:
                return _result(False, output, "timed_out")
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    program = _write(process, program, selector)
                    continue
                data = os.read(process.stdout.fileno(), CHUNK)
                output += data
                reading = bool(data)
                if len(output) > max_output_bytes + len(READY):
                    return _result(False, output[: max_output_bytes + len(READY)], "too_much_output")
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return _result(False, output, "timed_out")
    if code == -signal.SIGXCPU:
        return _result(False, output, "timed_out")
    return _result(code == 0, output, "ok" if code == 0 else "killed" if code < 0 else "failed")


def _write(process: subprocess.Popen, program: bytes, selector: selectors.BaseSelector) -> bytes:
    try:
        program = program[os.write(process.stdin.fileno(), program[:CHUNK]) :]
    except BrokenPipeError:
        program = b""
    if not program:
        selector.unregister(process.stdin)
        process.stdin.close()
    return program


def _result(ok: bool, output: bytearray, reason: str) -> Result:
    """The first line is the jail's own; without it the program never began."""
    if output.startswith(READY):
        return Result(ok, bytes(output[len(READY) :]).decode(errors="replace"), reason)
    if reason == "timed_out" and not output:
        raise SandboxError("the sandbox was not ready in time")
    raise SandboxError(f"the sandbox could not be closed: {bytes(output[:200]).decode(errors='replace') or reason}")
