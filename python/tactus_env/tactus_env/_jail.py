"""The inside of sandbox.py: locks itself in, then runs the program it reads from its input. A process of its own.

    python -I -S -B _jail.py MEMORY_BYTES CPU_S < program.py

Prints "jailed" once it is; anything else in that place is why it is not. Numbers of system calls: Linux on x86-64.
"""

import ctypes
import os
import resource
import struct
import sys

NOBODY = 65534
ALLOWED = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35, "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79,
    "readlink": 89, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104,
    "geteuid": 107, "getegid": 108, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
    "getdents64": 217, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "readlinkat": 267, "getrandom": 318, "rseq": 334, "stat": 4, "lstat": 6, "newfstatat": 262, "statx": 332, "access": 21,
    "faccessat": 269, "faccessat2": 439,
}  # fmt: skip
OPEN, OPENAT = 2, 257
# Of their flags only these: O_RDONLY with O_CLOEXEC, O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK, O_NOCTTY, O_LARGEFILE. None creates or writes.
READ_FLAGS = 0o2000000 | 0o400000 | 0o200000 | 0o4000 | 0o400 | 0o100000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_DUMPABLE = 38, 22, 2, 4
RET_ALLOW, RET_EPERM, RET_KILL = 0x7FFF0000, 0x00050001, 0x80000000
AUDIT_ARCH_X86_64 = 0xC000003E
LOAD, JUMP_EQUAL, JUMP_SET, JUMP_GE, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
NUMBER, ARCH, ARG1, ARG2 = 0, 4, 24, 32  # offsets in struct seccomp_data; arguments are 64 bits, their flags the lower 32
X32 = 0x40000000


def _filter() -> bytes:
    def op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    def opens(number: int, flags: int) -> list:
        """The call, if its flags are READ_FLAGS at most; falls through for other calls."""
        return [op(LOAD, NUMBER), op(JUMP_EQUAL, number, 0, 4), op(LOAD, flags), op(JUMP_SET, ~READ_FLAGS & 0xFFFFFFFF, 0, 1),
                op(RETURN, RET_EPERM), op(RETURN, RET_ALLOW)]  # fmt: skip

    program = [op(LOAD, ARCH), op(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0), op(RETURN, RET_KILL)]
    program += [op(LOAD, NUMBER), op(JUMP_GE, X32, 0, 1), op(RETURN, RET_KILL)]
    program += opens(OPEN, ARG1) + opens(OPENAT, ARG2) + [op(LOAD, NUMBER)]
    for number in sorted(ALLOWED.values()):
        program += [op(JUMP_EQUAL, number, 0, 1), op(RETURN, RET_ALLOW)]
    return b"".join([*program, op(RETURN, RET_EPERM)])


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _limit(memory_bytes: int, cpu_s: int) -> None:
    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, 0),
                       (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)):  # fmt: skip
        resource.setrlimit(kind, (most, most))


def _drop_root() -> None:
    """Root becomes nobody, unless nobody may not read Python's own library, as under /root."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    readable = os.access(os.__file__, os.R_OK, effective_ids=True)
    os.seteuid(0)
    if readable:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _close_calls() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    code = _filter()
    memory = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(memory, ctypes.c_void_p))
    for arguments in ((PR_SET_DUMPABLE, 0, 0, 0, 0), (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                      (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):  # fmt: skip
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({arguments[0]})")


def main() -> None:
    source = sys.stdin.buffer.read()
    sys.stdin.close()
    try:
        _drop_root()
        _limit(int(sys.argv[1]), int(sys.argv[2]))
        _close_calls()
    except OSError as error:
        print(f"not jailed: {error}", flush=True)
        os._exit(1)
    sys.argv = ["program.py"]
    print("jailed", flush=True)
    exec(compile(source, "program.py", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})


if __name__ == "__main__":
    main()
