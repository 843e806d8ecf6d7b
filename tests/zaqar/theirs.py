"""What `throughput.py` compares with: python-zaqarclient, as its documentation uses it. Runs in the servers' environment.

`python theirs.py URL QUEUE MESSAGES IN_A_POST`: posts, claims and deletes; prints the seconds of both as JSON.
"""

import json
import sys
import time

from zaqarclient.queues.v2 import client


def main(url, name, messages, in_a_post):
    """Post, claim and delete so many messages; print the seconds."""
    options = {'auth_opts': {'backend': 'noauth', 'options': {'os_project_id': 'throughput'}}}
    queue = client.Client(url, conf=options).queue(name)
    began = time.monotonic()
    for start in range(0, messages, in_a_post):
        queue.post([{'ttl': 3600, 'body': {'number': number}} for number in range(start, start + in_a_post)])
    posted = time.monotonic()
    seen = 0
    while seen < messages:
        for message in queue.claim(ttl=300, grace=60, limit=20):
            seen += 1
            message.delete()
    print(json.dumps({'post': posted - began, 'consume': time.monotonic() - posted, 'seen': seen}))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
