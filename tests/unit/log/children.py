"""Child processes that tests talk to, line by line: real ones, to be stopped and killed."""

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


ROOT = Path(__file__).parents[3]

# A bound for what should take milliseconds; a test that reaches it fails.
PATIENCE_S = 20


class Child:
    """A Python process that runs *program* and is told and heard a line at a time."""

    def __init__(self, program, *arguments, before=(), variables=None):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [*before, sys.executable, "-u", "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, **(variables or {})},
            bufsize=0,
        )
        self._heard = b""

    @property
    def pid(self):
        """The pid of what was started: of Python, unless something stands before it."""
        return self._process.pid

    def tell(self, line=""):
        """Send *line*."""
        self._process.stdin.write(line.encode() + b"\n")

    def hear(self):
        """Return the next line, or "" at the end of what the child and its heirs say."""
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
            assert ready, "nothing was heard"
            said = self._process.stdout.read(4096)
            if not said:
                break
            self._heard += said
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def stop(self):
        """Stop it, and return when it has stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        """Kill it, and return when it is dead. Its heirs live on."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def hang_up(self):
        """Close its standard input: it, and heirs that read it, see the end."""
        self._process.stdin.close()

    def end(self):
        """Let it end by itself; return its exit code and what it wrote to standard error."""
        self.hang_up()
        complaint = self._process.stderr.read().decode()
        return self._process.wait(PATIENCE_S), complaint

    def bury(self):
        """Leave nothing of it behind."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()


@contextmanager
def child(program, *arguments, **options):
    """Run *program* in a child for the length of a block."""
    started = Child(program, *arguments, **options)
    try:
        yield started
    finally:
        started.bury()


def own_namespace(*kinds):
    """Return the command that runs another in namespaces of its own, or None where that is not allowed."""
    if shutil.which("unshare") is None:
        return None
    for rights in ([], ["--map-root-user"]):
        command = ["unshare", *rights, *kinds]
        # With Python, because a mapped superuser may not reach everything that the user can.
        tried = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    return None
