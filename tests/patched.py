"""Run pytest in a process that gevent patched before anything else was imported.

`python tests/patched.py ARGS` is `python -m pytest ARGS`, patched. Before it patches, it imports only gevent.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402

import pytest  # noqa: E402

if __name__ == '__main__':
    # As with `python -m pytest`: modules are found from the root of the tree, not from tests/.
    sys.path[0] = os.getcwd()
    sys.exit(pytest.main())
