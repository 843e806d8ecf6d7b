#!/usr/bin/env bash
# 2026-11-30. Versions: celery and kombu 5.7.0, amqp 5.4.2, RabbitMQ 3.10.8 (Debian 12), CPython 3.11.
# Celery: with quorum queues apply_async(countdown=0.5) raises ValueError, and countdown=1.9 runs after one second.
#
# One would guess that a countdown below a second is a short wait, or none, whatever kind of queue the task goes to.
# What happens: as soon as one queue of the application is a quorum queue, Celery lets RabbitMQ delay, and cuts the
# countdown to whole seconds. 0.5 becomes 0, which "must be a positive number": ValueError from apply_async, before
# anything is sent; the same for an eta that is less than a second away. Inside of a task retry(countdown=0.5) turns
# that into Reject without requeue: the message is dropped. 0, and what lies in the past, are sent at once.
#
# Source: Celery's documentation of apply_async: "countdown (float): Number of seconds into the future that the task
# should execute"; the page on quorum queues speaks of native delayed delivery, not of whole seconds.
# Seen:
#   classic queue, countdown=0.5: sent to the queue
#   quorum queue, countdown=0.5: ValueError: countdown must be a positive number
#   quorum queue, eta in 0.9 s: ValueError: countdown must be a positive number
#   quorum queue, countdown=0: sent to the queue
#   quorum queue, countdown=1.9: delayed by 1 s
#   quorum queue, retry(countdown=0.5) in a task: Reject, requeue False

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
    'celery==5.7.0' 'kombu==5.7.0' 'amqp==5.4.2'

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

timeout 50 "$folder/venv/bin/python" - "$port" <<'PY'
import datetime
import sys

from celery import Celery, signals
from celery.exceptions import Reject
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import declare_native_delayed_delivery_exchanges_and_queues

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


PORT = int(sys.argv[1])
published = []
signals.before_task_publish.connect(lambda routing_key, **_: published.append(routing_key), weak=False)


def application(kind):
    """An application with one queue, of this kind."""
    queue = Queue(kind, Exchange('work', type='topic'), routing_key=kind, queue_arguments={'x-queue-type': kind})
    app = Celery(kind, broker=f'amqp://guest:guest@127.0.0.1:{PORT}//', set_as_current=False)
    app.conf.update(task_queues=[queue], task_default_queue=kind, task_default_exchange='work')
    app.conf.update(task_default_exchange_type='topic', task_default_routing_key=kind, task_ignore_result=True)
    with app.connection_for_write() as connection:
        queue(connection.default_channel).declare()
        if kind == 'quorum':
            # The exchanges that delay, which a worker declares.
            declare_native_delayed_delivery_exchanges_and_queues(connection, kind)

    def job():
        """Does nothing."""

    return app.task(job)


def send(task, **when):
    """What becomes of a task that is to run then; an eta is given in seconds from now."""
    if 'eta' in when:
        when['eta'] = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=when['eta'])
    try:
        task.apply_async(**when)
    except ValueError as error:
        return f'{type(error).__name__}: {error}'
    bits, _, _ = published.pop().rpartition('.')
    return f'delayed by {int(bits.replace(".", ""), 2)} s' if bits else 'sent to the queue'


classic, quorum = application('classic'), application('quorum')
REFUSED = 'ValueError: countdown must be a positive number'
for shown, task, when, expected in (
    ('classic queue, countdown=0.5', classic, {'countdown': 0.5}, 'sent to the queue'),
    ('quorum queue, countdown=0.5', quorum, {'countdown': 0.5}, REFUSED),
    ('quorum queue, eta in 0.9 s', quorum, {'eta': 0.9}, REFUSED),
    ('quorum queue, countdown=0', quorum, {'countdown': 0}, 'sent to the queue'),
    ('quorum queue, countdown=1.9', quorum, {'countdown': 1.9}, 'delayed by 1 s'),
):
    result = send(task, **when)
    print(f'{shown}: {result}')
    check(result == expected, shown)

delivery = {'exchange': 'work', 'routing_key': 'quorum'}
quorum.push_request(args=(), kwargs={}, called_directly=False, delivery_info=delivery)
try:
    quorum.retry(countdown=0.5)
except Reject as error:
    print(f'quorum queue, retry(countdown=0.5) in a task: Reject, requeue {error.requeue}')
    check(not error.requeue, 'the message of a retry is kept')
else:
    check(False, 'retry(countdown=0.5)')
PY
