"""A process that has imported what `napix` imports, and is forked for each run of it: a start takes 10 ms, not 300.

`python -m tests.cli.warmed SOCKET` listens there until its standard input ends. A caller connects, sends the arguments,
the environment and the directory in JSON with the three standard descriptors, and is told the process id, then how the
process ended. What runs is `napixclient.cli.main`, with nothing in its place; its modules are those of any start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from gevent import monkey
from gevent.os import fork_gevent

monkey.patch_all()

real_socket, real_select = monkey.get_original('socket', 'socket'), monkey.get_original('select', 'select')
real_wait = monkey.get_original('os', 'waitpid')
#: Bytes of a message at most.
SIZE = 1 << 20


def main(path: str) -> None:
    """Serve until standard input ends."""
    import napixclient.cli.command
    import napixclient.cli.run  # noqa: F401

    flush_coverage()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal of the tests is theirs
    listener = real_socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print('ready', flush=True)
    while True:
        ready, _, _ = real_select([listener, 0], [], [])
        while real_waitpid_any():
            pass
        if listener not in ready:
            return
        connection = listener._accept()
        if fork_gevent() == 0:
            serve(real_socket(fileno=connection[0]), listener)
        os.close(connection[0])


def flush_coverage() -> None:
    """Have what was traced so far written here, once, and not by each fork."""
    coverage = sys.modules.get('coverage')
    current = None if coverage is None else coverage.Coverage.current()
    if current is not None:
        current.get_data()


def real_waitpid_any() -> bool:
    """Take note of a child that has ended."""
    try:
        return bool(real_wait(-1, os.WNOHANG)[0])
    except ChildProcessError:
        return False


def serve(connection: Any, listener: Any) -> NoReturn:
    """Start one `napix`, and tell how it ended."""
    os.close(listener.detach())
    data, descriptors, _, _ = socket.recv_fds(connection, SIZE, 3)
    while not data.endswith(b'\n'):
        data += connection.recv(SIZE)
    asked = json.loads(data)
    pid = fork_gevent()
    if pid == 0:
        os.close(connection.detach())
        become(descriptors, **asked)
    connection.sendall(b'%d\n' % pid)
    _, status = real_wait(pid, 0)
    connection.sendall(b'%d\n' % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(descriptors: list[int], arguments: list[str], environ: dict[str, str], directory: str) -> NoReturn:
    """Be `napix` from here on."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(directory)
    encoding = environ.get('PYTHONIOENCODING', 'utf-8')
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding=encoding, closefd=False) for number, mode in ((0, 'r'), (1, 'w'), (2, 'w'))
    )
    sys.argv = ['napix', *(os.fsdecode(argument.encode('latin-1')) for argument in arguments)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: Any = 1
    try:
        from napixclient.cli import main as napix

        code = napix()
    except SystemExit as exc:
        code = exc.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code if isinstance(code, int) else 1)


if __name__ == '__main__':
    main(sys.argv[1])
