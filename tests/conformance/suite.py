"""Runs the Python SDK's own tests against `serve --conformance`: suite.py SERVER SUITE."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

PORT = 8000
TESTS = 185
# Many of the suite's tests wait without a timeout.
WITHIN_SECONDS = 180


def port_is_taken():
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.connect((address, PORT))
            return True
    return False


def is_ready():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def serving(binary):
    """Runs the server: yields when it is ready, stops it afterwards."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")}
    environment["BIND"] = f"127.0.0.1:{PORT}"
    environment["DRAIN_SECONDS"] = "0"
    server = subprocess.Popen([binary, "serve", "--conformance"], env=environment)
    try:
        deadline = time.monotonic() + 60
        while not is_ready():
            if server.poll() is not None:
                sys.exit(f"the server ended with {server.returncode} before it was ready")
            if time.monotonic() > deadline:
                sys.exit("the server was not ready within a minute")
            time.sleep(0.1)
        yield
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode} during the suite")
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def give_up(*_):
    raise TimeoutError(f"the suite took longer than {WITHIN_SECONDS} seconds")


def main():
    binary, suite = (str(Path(argument).resolve()) for argument in sys.argv[1:3])
    if port_is_taken():
        sys.exit(f"port {PORT} is in use, and the SDK's suite needs it: stop the program that listens there")
    log = Path(suite).with_name("suite.log")
    os.chdir(suite)
    sys.path.insert(0, suite)
    tests = unittest.defaultTestLoader.discover("tests", top_level_dir=suite)
    # The suite logs every frame.
    logging.root.handlers[:] = [logging.FileHandler(log, mode="w")]
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(WITHIN_SECONDS)
    with serving(binary):
        result = unittest.TextTestRunner(buffer=True).run(tests)
    if result.testsRun != TESTS or result.skipped:
        sys.exit(f"{result.testsRun} tests ran and {len(result.skipped)} were skipped; expected {TESTS} and 0")
    if not result.wasSuccessful():
        sys.exit(f"the frames sent and received are in {log}")


if __name__ == "__main__":
    main()
