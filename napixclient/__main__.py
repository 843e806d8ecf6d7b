"""``python -m napixclient`` is ``napix``."""

import os
import sys

# `-m` has Python look for every module in the working directory first: a json.py there is nothing that we asked for.
if sys.path[:1] == [os.getcwd()] and not getattr(sys.flags, 'safe_path', False):
    del sys.path[0]

from napixclient.cli import main

if __name__ == '__main__':
    sys.exit(main())
