"""curl, the command, with -Z: what people write in a shell. It checks no answer but its status and where it came from."""

import os
import subprocess
import tempfile

from benchmarks.work import Figures, Outcome, Work, main

#: More than 300 it does not do.
MOST = 300


def run(work: Work) -> Figures:
    with tempfile.NamedTemporaryFile('w', suffix='.curl') as config:
        for url in work.turns(work.urls):
            config.write(f'url = "{url}"\noutput = "{os.devnull}"\n')
        config.flush()
        parallel = min(work.connections or MOST, MOST)
        command = ['curl', '-s', '-Z', '--parallel-max', str(parallel), '-K', config.name]
        # It tells of the transfers as they end.
        told = '%{urlnum} %{http_code} %{remote_ip}\n'
        done = subprocess.run([*command, '-w', told], stdout=subprocess.PIPE, text=True, check=False)
    answers = work.unanswered()
    for line in done.stdout.splitlines():
        number, status, address = line.split(' ')
        answers[int(number)] = outcome(int(status), address)
    return work.check(answers)


def outcome(status: int, address: str) -> Outcome:
    return (status, 'not looked at', {'host': address}) if status else RuntimeError('curl got no answer')


if __name__ == '__main__':
    main(run)
