"""grequests: its map over one session, the cap by an adapter with a blocking pool of two connections per host."""

import grequests
from requests import Response, Session
from requests.adapters import HTTPAdapter

from benchmarks.work import HEADER, Answer, Figures, Work, main


def run(work: Work) -> Figures:
    session = Session()
    session.trust_env = False
    session.mount('http://', HTTPAdapter(pool_connections=work.hosts, pool_maxsize=work.simultaneous, pool_block=True))
    asked = [grequests.get(url, session=session) for url in work.turns(work.urls)]
    responses = grequests.map(asked, exception_handler=lambda request, failure: failure)
    return work.check(response if isinstance(response, Exception) else answer(response) for response in responses)


def answer(response: Response) -> Answer:
    return response.status_code, response.headers[HEADER], response.json()


if __name__ == '__main__':
    main(run)
