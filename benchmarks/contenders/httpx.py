"""httpx: see `httpx_like`."""

from functools import partial

import httpx

from benchmarks.contenders.httpx_like import run
from benchmarks.work import main

if __name__ == '__main__':
    main(partial(run, httpx))
