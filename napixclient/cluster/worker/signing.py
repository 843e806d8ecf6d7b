"""Signs the requests of batches, each in the name of who submitted it: its tag says how."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..._http.pending import Outcome
from ...authenticators import Authenticator
from ...authenticators.challenges import is_stale
from ...authenticators.fetching import Way, way
from ...authenticators.fields import OneField
from ...authenticators.travelling import Description, restored
from ...errors import HTTPError
from ...masking import mask
from ...messages import Request, Response
from ..travel import Parcel

__all__ = ['BatchSigner', 'Sign']

Asked = Callable[[Request, Response], Request | None]
#: Answers to the challenges of one request.
_MOST_ANSWERS = 2


class Sign(OneField):
    """The authenticator of the pool: adds the one field that most signers have, anew for each attempt."""

    def __init__(self) -> None:
        self._restored: Callable[[Description], Authenticator] = lru_cache(1024)(lambda signer: restored(*signer))

    def signer_of(self, request: Request) -> Authenticator | None:
        """What signs the request; the same for all that were submitted with the same."""
        return self.signer(request.tag)

    def signer(self, described: Description | None) -> Authenticator | None:
        """What was described."""
        return None if described is None else self._restored(described)

    def line(self, request: Request) -> bytes:
        """The field that is added: the request's own where nobody signs, or something else has signed it."""
        if request.tag is not None:
            signer = self.signer_of(request)
            if isinstance(signer, OneField):
                return signer.line(request)
        if not request.headers.block:
            return b''
        own = request.headers.getlist('authorization')
        return b''.join(b'\r\nAuthorization: %b' % value.encode('latin-1') for value in own)


class BatchSigner:
    """Signs the requests of one batch where a field is not enough, and answers their challenges.

    Here it is the batch that waits for a signer that blocks, and not the pool, which all batches share.

    :param way: how the pool connects.
    :param described: who submitted it.
    """

    def __init__(self, sign: Sign, way: Way, described: Description | None) -> None:
        signer = sign.signer(described)
        #: Whether more is to be done for a request than that the pool adds a field.
        self.asks: bool = signer is not None and not isinstance(signer, OneField)
        self._sign = sign
        self._way = way
        #: What may be challenged, as it was sent, and how often it was, by number.
        self._sent: dict[int, tuple[Parcel, int]] = {}
        #: Why nothing of the batch can be signed: so many fetches in vain take their time.
        self._failed: BaseException | None = None

    def signed(self, parcel: Parcel) -> Parcel | HTTPError:
        """The parcel with its request signed; the outcome, where that fails."""
        signer = self._sign.signer_of(parcel.request)
        if signer is None or isinstance(signer, OneField):
            return parcel
        request = self._asked(parcel.request, lambda: signer(parcel.request))
        if isinstance(request, HTTPError):
            return request
        parcel = parcel if request is None else parcel._replace(request=request)
        if hasattr(signer, 'challenged'):
            self._sent[parcel.number] = parcel, 0
        return parcel

    def answer(self, number: int, outcome: Outcome) -> Parcel | HTTPError | None:
        """What is to be sent instead of handing an outcome out; ``None`` where there is nothing, or another outcome."""
        if number not in self._sent:
            return None
        parcel, answered = self._sent.pop(number)
        signer, request = self._sign.signer_of(parcel.request), parcel.request
        response = outcome if isinstance(outcome, Response) else outcome.response
        if response is None:
            return None
        informed: Asked | None = getattr(signer, 'informed', None)
        if informed is not None and 'authentication-info' in response.headers:
            informed(request, response)
        challenged: Asked | None = getattr(signer, 'challenged', None)
        stale = answered and not is_stale(response.headers.getlist('www-authenticate'))
        if challenged is None or response.status != 401 or answered >= _MOST_ANSWERS or stale:
            return None
        again = self._asked(request, lambda: challenged(request, response))
        if not isinstance(again, Request):
            return again
        parcel = parcel._replace(request=again)
        self._sent[number] = parcel, answered + 1
        return parcel

    def _asked(self, request: Request, ask: Callable[[], Request | None]) -> Request | HTTPError | None:
        if self._failed is None:
            before = way.set(self._way)
            try:
                return ask()
            except Exception as exc:
                self._failed = exc
            finally:
                way.reset(before)
        failed = self._failed
        text = f'the authenticator failed: {type(failed).__name__}: {mask(str(failed))}'
        error = HTTPError(text, request=request, phase='authenticate')
        error.__cause__ = failed
        return error
