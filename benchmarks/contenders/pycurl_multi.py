"""pycurl as its documentation shows it.

Easy handles are used again as in its example retriever-multi; a buffer and a callback for the header lines are made for
each request; all headers are collected in a dict as in its quickstart. Two handles per origin. This is the yardstick; `pycurl_tuned` is what becomes of it with all that is known to make it
faster.
"""

import json
from collections.abc import Callable, Iterator
from io import BytesIO

import pycurl

from benchmarks.work import HEADER, Figures, Work, main


def run(work: Work) -> Figures:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, work.hosts * work.simultaneous)
    handles = []
    for url, share in zip(work.urls, work.shares(), strict=True):
        for _ in range(work.simultaneous):
            curl = pycurl.Curl()
            if work.ca:
                curl.setopt(pycurl.CAINFO, work.ca)
            handles.append(curl)
            start_next(multi, curl, url, share)

    answers = work.unanswered()
    unfinished = work.requests
    while unfinished:
        multi.perform()
        queued = True
        while queued:
            queued, done, failed = multi.info_read()
            for curl in done:
                data = json.loads(curl.body.getvalue())
                answers[curl.number] = curl.getinfo(pycurl.RESPONSE_CODE), curl.headers[HEADER.lower()], data
            for curl, code, text in failed:
                answers[curl.number] = pycurl.error(code, text)
            for curl in [*done, *(curl for curl, *_ in failed)]:
                multi.remove_handle(curl)
                start_next(multi, curl, curl.url, curl.numbers)
                unfinished -= 1
        if unfinished:
            # select() knows no descriptor above 1023, so beyond 500 origins it must not sleep for long.
            multi.select(0.001)
    return work.check(answers)


def start_next(multi: pycurl.CurlMulti, curl: pycurl.Curl, url: str, share: Iterator[int]) -> None:
    curl.number = next(share, None)
    if curl.number is None:
        return
    curl.url, curl.numbers = url, share
    curl.body, curl.headers = BytesIO(), {}
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.HEADERFUNCTION, collect_into(curl.headers))
    curl.setopt(pycurl.WRITEDATA, curl.body)
    multi.add_handle(curl)


def collect_into(headers: dict[str, str]) -> Callable[[bytes], None]:
    def header_line(line: bytes) -> None:
        name, colon, value = line.decode('iso-8859-1').partition(':')
        if colon:
            headers[name.strip().lower()] = value.strip()

    return header_line


if __name__ == '__main__':
    main(run)
