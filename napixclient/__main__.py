"""``python -m napixclient`` is ``napix``."""

import sys

from napixclient.cli import main

if __name__ == '__main__':
    sys.exit(main())
