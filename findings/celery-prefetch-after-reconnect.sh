#!/usr/bin/env bash
# 2026-11-30. Versions: celery and kombu 5.7.0, amqp 5.4.2, gevent 26.9.0, RabbitMQ 3.10.8 (Debian 12), CPython 3.11.
# Celery: a prefetch that a worker was given when it was made holds until its first reconnect, and then grows silently.
#
# One would guess that initial_prefetch_count, set once by a bootstep when the consumer is made, is what every later
# connection begins with: that is what its name says, and what the worker does when it starts.
# What happens: with quorum queues, after a lost connection the worker sets it to pool size times multiplier, for each
# queue, and says so at INFO only: "Skipping prefetch count reduction". A worker of 20 greenlets that was to hold 3
# messages of each queue holds 20 of each from then on, and what it holds, nobody else gets.
#
# Source: Celery's documentation, worker_enable_prefetch_count_reduction: after a lost connection the prefetch is
# reduced, and restored as tasks end; of growing beyond what it was it says nothing.
# Seen:
#   rabbitmqctl list_consumers, the prefetch on the queue: 3
#   after rabbitmqctl close_all_connections: 20
#   the log of the worker: Skipping prefetch count reduction after connection restart

set -euo pipefail
sbin=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2> /dev/null | sort -V | tail -n 1 || true)
if [ -z "$sbin" ] || ! command -v epmd > /dev/null; then
    echo 'RabbitMQ is missing: apt-get install rabbitmq-server' >&2
    exit 77
fi
version=${sbin%/sbin}
echo "RabbitMQ ${version##*-}"

folder=$(mktemp -d)
node='' mapper=''
finish() {
    [ -z "$node" ] || kill -KILL -- "-$node" 2> /dev/null || true
    [ -z "$mapper" ] || kill -KILL "$mapper" 2> /dev/null || true
    for _ in $(seq 50); do
        [ -n "$node" ] && kill -0 -- "-$node" 2> /dev/null || break
        sleep 0.1
    done
    rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    'celery==5.7.0' 'kombu==5.7.0' 'amqp==5.4.2' 'gevent==26.9.0'

# A node of our own: free ports of loopback, its own name, its own data, no plugin.
free_port() {
    python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}
for _ in 1 2 3 4 5; do
    mapper_port=$(free_port)
    epmd -address 127.0.0.1 -port "$mapper_port" > /dev/null 2>&1 &
    mapper=$!
    disown "$mapper"
    sleep 0.5
    kill -0 "$mapper" 2> /dev/null && break
done
port=$(free_port)
echo '[].' > "$folder/plugins"
loopback='-kernel inet_dist_use_interface {127,0,0,1}'
settings=(
    HOME="$folder" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$mapper_port"
    RABBITMQ_NODENAME="finding$port@localhost" RABBITMQ_DIST_PORT="$(free_port)"
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port"
    RABBITMQ_MNESIA_BASE="$folder/data" RABBITMQ_LOG_BASE="$folder/log"
    RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" RABBITMQ_PID_FILE="$folder/pid"
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$loopback" RABBITMQ_CTL_ERL_ARGS="$loopback"
)
env "${settings[@]}" setsid "$sbin/rabbitmq-server" > "$folder/console" 2>&1 < /dev/null &
node=$!
disown "$node"
for _ in $(seq 200); do
    grep -qs 'Server startup complete' "$folder"/log/*.log && break
    sleep 0.2
done
grep -qs 'Server startup complete' "$folder"/log/*.log || { echo 'RabbitMQ does not start' >&2; exit 1; }

env "${settings[@]}" timeout 50 "$folder/venv/bin/python" - "$port" "$folder" "$sbin/rabbitmqctl" <<'PY'
import os
import pathlib
import subprocess
import sys
import time

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


PORT, FOLDER, CONTROL = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]

APPLICATION = """
import os

from celery import Celery, bootsteps
from kombu import Exchange, Queue

app = Celery('app', broker=os.environ['BROKER'])
queue = Queue('work', Exchange('work', type='topic'), routing_key='work', queue_arguments={'x-queue-type': 'quorum'})
app.conf.update(task_queues=[queue], task_default_queue='work', worker_prefetch_multiplier=1)
app.conf.update(worker_cancel_long_running_tasks_on_connection_loss=True, broker_connection_retry_on_startup=True)


class Prefetch(bootsteps.StartStopStep):
    requires = {'celery.worker.consumer.connection:Connection'}

    def __init__(self, consumer, **options):
        super().__init__(consumer, **options)
        consumer.initial_prefetch_count = 3


app.steps['consumer'].add(Prefetch)
"""
(FOLDER / 'application.py').write_text(APPLICATION)
LOG = FOLDER / 'worker.log'


def prefetch(rounds):
    """The prefetch on the queue, once the worker has begun to consume for the nth time."""
    for _ in range(100):
        if LOG.read_text().count('Prefetch count is now static') >= rounds:
            break
        time.sleep(0.2)
    for _ in range(3):
        for line in control('list_consumers', 'queue_name', 'prefetch_count').splitlines():
            if line.split()[0] == 'work':
                return int(line.split()[1])
    sys.exit('the worker does not come up')


def control(*arguments):
    """What rabbitmqctl prints."""
    done = subprocess.run([CONTROL, '-q', *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


options = ['-P', 'gevent', '-c', '20', '-l', 'INFO', '--without-gossip', '--without-mingle', '--without-heartbeat']
broker = f'amqp://guest:guest@127.0.0.1:{PORT}//'
with open(LOG, 'wb') as log:
    worker = subprocess.Popen(
        [sys.executable, '-m', 'celery', '-A', 'application', 'worker', *options],
        cwd=FOLDER,
        env={**os.environ, 'BROKER': broker, 'C_FORCE_ROOT': '1'},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
try:
    before = prefetch(1)
    print(f'rabbitmqctl list_consumers, the prefetch on the queue: {before}')
    control('close_all_connections', 'try anew')
    after = prefetch(2)
    print(f'after rabbitmqctl close_all_connections: {after}')
    said = 'Skipping prefetch count reduction after connection restart'
    logged = said in LOG.read_text()
    print(f'the log of the worker: {said if logged else "nothing"}')
    check((before, after) == (3, 20), 'the prefetch before and after')
    check(logged, 'what the log says')
finally:
    worker.kill()
    worker.wait()
PY
