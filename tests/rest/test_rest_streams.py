"""Calls whose answer is read in pieces."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from napixclient import StreamedResponse
from napixclient.rest import Client, ClientError
from tests import kit
from tests.kit import CLOSE, READ, SILENCE, FaultServer

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'
NO_MORE = b'HTTP/1.1 204 No Content\r\n\r\n'


def test_a_streamed_answer_is_read_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    """It is there at its head, whatever is logged, and its slot is free when it has been closed."""
    caplog.set_level(logging.DEBUG)
    script = [READ, HEAD % 9 + b'half', SILENCE]
    with FaultServer(script, script) as server, Client(server.url, log_bodies=True, max_concurrency=1) as rest:
        for success in 200, None:
            response = rest.get('x', stream=True, success=success)
            assert response.status_code == 200
            with response.stream as body:
                assert isinstance(body, StreamedResponse) and body.read(4) == b'half'
    assert 'a stream of bytes' in caplog.text and 'half' not in caplog.text


def test_events_and_downloads(tmp_path: Path) -> None:
    """The events go on over other connections, and a download goes on where it broke off."""
    events = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1\ndata: a\n\n'
    with FaultServer([READ, events, CLOSE], [READ, NO_MORE]) as server, Client(server.url) as rest:
        assert [event.data for event in rest.get('events', stream=True).stream.iter_events()] == ['a']
    tag = b'ETag: "1"\r\n'
    whole = b'HTTP/1.1 200 OK\r\n' + tag + b'Content-Length: 6\r\n\r\nabc'
    rest_of_it = (
        b'HTTP/1.1 206 Partial Content\r\n' + tag + b'Content-Range: bytes 3-5/6\r\nContent-Length: 3\r\n\r\ndef'
    )
    with FaultServer([READ, whole, CLOSE], [READ, rest_of_it]) as server, Client(server.url, retries=1) as rest:
        assert rest.get('file', stream=True).stream.save(tmp_path / 'file', resume=True) == 6
    assert (tmp_path / 'file').read_bytes() == b'abcdef'


def test_an_unexpected_status_is_raised_at_once() -> None:
    """Whether or not the body ever ends: of one below 400 it is not read; that of an error is."""
    with (
        FaultServer(
            [READ, b'HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nhalf', SILENCE],
            [READ, b'HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone'],
        ) as server,
        Client(server.url, max_concurrency=1) as rest,
    ):
        for status, message in (202, 'Accepted'), (404, 'gone'):
            with pytest.raises(ClientError) as caught:
                rest.get('x', stream=True)
            assert (caught.value.status, caught.value.message) == (status, message)
            assert caught.value.as_dict()['status'] == status


def test_an_answer_that_was_read_whole_is_no_stream() -> None:
    """It says how to ask for one."""
    with kit.serve() as server, Client(server.url) as rest:
        response = rest.get('000001')
        with pytest.raises(ValueError, match='stream=True'):
            response.stream  # noqa: B018
