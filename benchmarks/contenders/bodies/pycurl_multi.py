"""pycurl: the multi interface with a buffer for each body; a file with UPLOAD_BUFFERSIZE as large as libcurl has it."""

from collections.abc import Iterator
from io import BytesIO

import pycurl

from benchmarks.bodies import UNDER_WAY, main, urls
from benchmarks.work import Work


def large(work: Work) -> list[bytes]:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, UNDER_WAY)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, work.simultaneous)
    buffers = [BytesIO() for _ in range(work.requests)]
    handles = []
    for url, buffer in zip(work.turns(urls(work)), buffers, strict=True):
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEDATA, buffer)
        handles.append(curl)
        multi.add_handle(curl)
    unfinished = work.requests
    while unfinished:
        multi.perform()
        _, done, failed = multi.info_read(work.requests)
        for _, code, text in failed:
            raise pycurl.error(code, text)
        unfinished -= len(done)
        if unfinished:
            multi.select(0.1)
    return [buffer.getvalue() for buffer in buffers]


def streaming(work: Work) -> Iterator[bytes]:
    multi, curl, pieces = pycurl.CurlMulti(), pycurl.Curl(), []
    curl.setopt(pycurl.URL, urls(work)[0])
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.WRITEFUNCTION, pieces.append)
    multi.add_handle(curl)
    under_way = True
    while under_way:
        _, under_way = multi.perform()
        yield from pieces
        pieces.clear()
        if under_way:
            multi.select(0.1)


def upload(work: Work) -> int:
    curl = pycurl.Curl()
    with open(work.file, 'rb') as file:
        curl.setopt(pycurl.URL, work.urls[0])
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.READDATA, file)
        curl.setopt(pycurl.POSTFIELDSIZE_LARGE, work.size)
        curl.perform()
    return int(curl.getinfo(pycurl.RESPONSE_CODE))


if __name__ == '__main__':
    main(globals())
