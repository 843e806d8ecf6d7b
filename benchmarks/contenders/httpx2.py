"""httpx2, the successor of httpx: see `httpx_like`."""

from functools import partial

import httpx2

from benchmarks.contenders.httpx_like import run
from benchmarks.work import main

if __name__ == '__main__':
    main(partial(run, httpx2))
