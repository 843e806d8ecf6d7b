"""napixclient, as its users write it: ClientPool.request and wait. Modes: 'signed', 'stream' and 'decoding'."""

import time

from benchmarks.work import HEADER, PATH, Figures, Outcome, Work, main, peak_rss_mb
from napixclient import ClientPool, HTTPError, Response


def run(work: Work) -> Figures:
    authenticator = {'login': 'root', 'key': 'toor'} if work.mode == 'signed' else None
    tls = {'ca_certs': work.ca} if work.ca else {}
    pool = ClientPool(authenticator, simultaneous=work.simultaneous, max_connections=work.connections or None, **tls)
    origins = [f'https://{origin}' for origin in work.origins] if work.ca else work.origins
    if work.mode == 'stream':
        asked = ((origin, 'GET', PATH) for origin in work.turns(origins))
        return work.check(map(decoded, pool.stream(asked, ordered=True)))
    for origin in work.turns(origins):
        pool.request(origin, 'GET', PATH)
    answers = pool.wait()
    as_handed_out = peak_rss_mb()
    if work.mode == 'decoding':
        busy = time.process_time()
        for answer in answers:
            _ = answer.body
        spent = 1e6 * (time.process_time() - busy) / work.requests
        return {**work.check(map(decoded, answers)), 'decoding_us': spent}
    return {**work.check(map(decoded, answers)), 'rss_handed_out_mb': as_handed_out}


def decoded(answer: Response | HTTPError) -> Outcome:
    if not isinstance(answer, Response):
        return answer
    return answer.status, answer.headers[HEADER], answer.body


if __name__ == '__main__':
    main(run)
