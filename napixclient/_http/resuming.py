"""Reads one object into a file: goes on with a range of it where its answer breaks off (RFC 9110 §13.1.5, §14)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import NamedTuple, cast

from ..errors import BodyTooLarge, Cancelled, HTTPError, InvalidResponse, RemoteError
from ..messages import Headers, Response
from .following import Continuing, Fields, Streamed
from .part_file import Kept, PartFile

__all__ = ['Download']

_is_strong = re.compile(r'"[^"\x00-\x20\x7f]*"').fullmatch
_range = re.compile(r'bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)', re.IGNORECASE).fullmatch
_no_range = re.compile(r'bytes \*/(\d{1,18})', re.IGNORECASE).fullmatch


class _Span(NamedTuple):
    """What a 206 says that it holds: from the first byte to before the end, of so many where that is known."""

    first: int
    end: int
    total: int | None


class Download:
    """Reads one object into a file.

    :param answer: the first answer, of which nothing was read.
    :param continuation: asks for the rest.
    :param part: where it goes, and perhaps what has come of it before.
    """

    def __init__(self, answer: Streamed, continuation: Continuing, part: PartFile) -> None:
        self._first = self._answer = answer
        self._error: HTTPError | None = None  # with which it was ended
        self._continuation = continuation
        self._part = part
        #: The coding that it is kept in, as it came; ``None`` where there is none, or it is undone.
        self._coding = _coding_of(answer.headers) if answer.coded else None
        self._end: int | None = None  # where the answer that is being read ends, and
        self._total: int | None = None  # all of it, where that is known

    def run(self) -> int:
        """Read all of it; how many bytes that are.

        :raises HTTPError: when it broke off, and its retries do not allow to ask again.
        """
        answer = self._begin()
        while answer is not None:
            self._answer = answer
            try:
                if self._error is not None:
                    raise self._error
                self._copy(answer)
            except HTTPError as error:
                answer.release()
                answer = self._ask(error)
            except BaseException:
                if answer is not self._first:  # which is its caller's
                    answer.release()
                raise
            else:
                answer = self._ask(None) if self._total is not None and self._part.size < self._total else None
        return self._part.size

    def close(self) -> None:
        """End it: its reader gets Cancelled."""
        self.break_off(Cancelled('the answer was closed before it was read to its end', request=self._first.request))

    def break_off(self, error: HTTPError) -> None:
        """End it, from whatever greenlet: its reader gets the error."""
        self._error = error
        self._continuation.stop(error)
        if self._answer is not self._first:  # which is ended already
            self._answer.break_off(error)

    def _begin(self) -> Streamed | None:
        """What is to be read first; ``None`` where all of it was there before."""
        answer, part = self._first, self._part
        if part.kept is not None and part.kept.coding != self._coding:
            part.begin(None)
        if not answer.coded and _coding_of(answer.headers) is not None:
            # What is decoded has no place in what was coded: have it without.
            answer.release()
            return self._ask(None)
        if not part.size or part.kept is None or part.kept != self._kept_of(answer):
            return self._anew(answer)
        self._total = _length_of(answer.headers)
        answer.release()
        return None if part.size == self._total else self._ask(None)

    def _anew(self, answer: Streamed) -> Streamed:
        self._part.begin(self._kept_of(answer))
        undone = not answer.coded and _coding_of(answer.headers) is not None
        self._end = self._total = None if undone else _length_of(answer.headers)
        return answer

    def _copy(self, answer: Streamed) -> None:
        part, end = self._part, self._end
        for piece in answer.iter_bytes():
            if end is not None and part.size + len(piece) > end:
                break
            part.write(piece)
        else:
            if end is None or part.size == end:
                return
        had, part.kept = part.size, None  # what it was a part of is not known
        raise _invalid(answer, f'{had} bytes are there, or more, where the answer was to end at {end}')

    def _ask(self, after: HTTPError | None) -> Streamed | None:
        """Ask for what is missing; ``None`` where nothing is."""
        part = self._part
        while True:
            ranged = part.kept is not None and part.size > 0
            if part.size and not ranged:
                part.begin(None)
            try:
                answer = self._continuation.ask(self._fields(), after, 0.0)
            except RemoteError as error:
                if error.status != 416 or not ranged:
                    raise
                if self._is_complete(error):
                    return None
                part.begin(None)
                after = None
                continue
            if answer.status == 200:
                return self._anew(answer)
            if answer.status != 206 or not ranged:
                answer.release()
                raise _invalid(answer, f'the status is {answer.status}, neither 200 nor that of the part asked for')
            if self._fits(answer):
                return answer
            answer.release()
            after = None if self._has_changed(answer) else _invalid(answer, 'it is not the part that was asked for')
            part.begin(None)

    def _fields(self) -> Fields:
        part = self._part
        # What the caller has of it is no matter here.
        fields: dict[str, str | bytes | None] = {'If-None-Match': None, 'If-Modified-Since': None}
        fields['Accept-Encoding'] = self._coding or 'identity'
        if part.kept is not None and part.size:
            fields['Range'] = f'bytes={part.size}-'
            fields['If-Range'] = part.kept.validator
            fields['Accept-Encoding'] = part.kept.coding or 'identity'
        return fields

    # -- what an answer is -----------------------------------------------------------------------------------------

    def _kept_of(self, answer: Streamed) -> Kept | None:
        """By what the rest of an answer can be asked for, if anything."""
        coding = _coding_of(answer.headers)
        validator = validator_of(answer.headers)
        return None if validator is None or (coding is not None and not answer.coded) else Kept(validator, coding)

    def _fits(self, answer: Streamed) -> bool:
        """Whether a 206 goes on where the part ends."""
        span, kept = _span_of(answer.headers), self._part.kept
        assert kept is not None
        if span is None or span.first != self._part.size or self._has_changed(answer):
            return False
        if _coding_of(answer.headers) not in (None, kept.coding):
            return False
        limit = self._continuation.max_body
        if limit is not None and span.end > limit:
            answer.release()
            raise _failure(BodyTooLarge, answer, f'the body is larger than {limit} bytes')
        self._end, self._total = span.end, span.total
        return True

    def _has_changed(self, answer: Streamed) -> bool:
        """Whether a 206 is of another object than what has come: not every server heeds If-Range."""
        kept, span = self._part.kept, _span_of(answer.headers)
        if kept is None:
            return False
        if None not in (self._total, span and span.total) and span is not None and span.total != self._total:
            return True
        of_its_kind = answer.headers.getlist('etag' if kept.validator.startswith('"') else 'last-modified')
        return of_its_kind not in ([], [kept.validator])

    def _is_complete(self, error: RemoteError) -> bool:
        """Whether a 416 says that there is no more than what has come."""
        fields = Headers() if error.response is None else error.response.headers
        found = _no_range(fields.get('content-range', ''))
        return found is not None and int(found[1]) == self._part.size


def validator_of(fields: Headers) -> str | None:
    """What goes into If-Range: a strong ETag, else a Last-Modified of at least a second before (RFC 9110 §8.8.2.2)."""
    tags, dates = fields.getlist('etag'), fields.getlist('last-modified')
    if len(tags) == 1 and _is_strong(tags[0]):
        return tags[0]
    if len(dates) != 1:
        return None
    try:
        modified = parsedate_to_datetime(dates[0])
        said = fields.get('date')
        if said is not None and (parsedate_to_datetime(said) - modified).total_seconds() < 1:
            return None  # it may have changed once more in that second
    except (TypeError, ValueError):
        return None
    return dates[0]


def _coding_of(fields: Headers) -> str | None:
    coding = fields.get('content-encoding', '').strip().lower()
    return None if coding in ('', 'identity') else coding


def _length_of(fields: Headers) -> int | None:
    length = fields.get('content-length')
    return None if length is None or 'transfer-encoding' in fields else int(length)


def _span_of(fields: Headers) -> _Span | None:
    found = _range(fields.get('content-range', ''))
    if found is None:
        return None
    first, last, total = int(found[1]), int(found[2]), None if found[3] == '*' else int(found[3])
    return None if first > last or (total is not None and last >= total) else _Span(first, last + 1, total)


def _failure(kind: type[HTTPError], answer: Streamed, what: str) -> HTTPError:
    return kind(what, request=answer.request, response=cast(Response, answer), phase='read')


def _invalid(answer: Streamed, what: str) -> HTTPError:
    return _failure(InvalidResponse, answer, f'the download cannot go on: {what}')
