#!/usr/bin/env bash
# 2026-11-30. Versions: RabbitMQ 3.10.8 (Debian 12), amqp 5.4.2 (py-amqp), CPython 3.11.
# RabbitMQ: a message that is put back keeps its place in a classic queue, and goes behind all others in a quorum queue.
#
# One would guess that a quorum queue keeps the order that RabbitMQ's guide to confirms promises for requeueing.
# What happens: with four messages waiting, a consumer takes a and b and puts a back. The classic queue hands out a
# next, the quorum queue c, d and then a. Three that are put back in turn, the last first, come back as c, b, a: in
# the order of the rejections, not of the queue. So "put it back, it is not its turn yet" reorders the work of a host,
# and a consumer that puts back what it cannot do yet walks through the whole queue instead of spinning on its head.
#
# Source: RabbitMQ's guide "Consumer Acknowledgements and Publisher Confirms": "When a message is requeued, it
# will be placed to its original position in its queue, if possible".
# Seen:
#   classic: a put back before c and d: then a, c, d
#   classic: c, b, a put back in turn: then a, b, c
#   quorum: a put back before c and d: then c, d, a
#   quorum: c, b, a put back in turn: then c, b, a

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
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'amqp==5.4.2'

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
import sys
import time

import amqp

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')

PORT = int(sys.argv[1])


def connect():
    """A connection with confirms: a publication returns when the queue has the message."""
    connection = amqp.Connection(f'127.0.0.1:{PORT}', confirm_publish=True)
    connection.connect()
    return connection


channel = connect().channel()


def filled(kind, name, bodies):
    """A queue of this kind that holds these messages."""
    queue = f'{kind}-{name}'
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments={'x-queue-type': kind})
    for body in bodies:
        channel.basic_publish_confirm(amqp.Message(body), routing_key=queue)
    return queue


def take(queue, count):
    """The next messages, none of them acknowledged; each has a second to come."""
    taken, end = [], time.monotonic() + count
    while len(taken) < count and time.monotonic() < end:
        message = channel.basic_get(queue)
        if message is None:
            time.sleep(0.05)
        else:
            taken.append(message)
    return taken


def back(*messages):
    for message in messages:
        channel.basic_reject(message.delivery_tag, requeue=True)
    time.sleep(0.5)


for kind, first, turned in (('classic', 'a, c, d', 'a, b, c'), ('quorum', 'c, d, a', 'c, b, a')):
    queue = filled(kind, 'one', 'abcd')
    a, _ = take(queue, 2)
    back(a)
    found = ', '.join(message.body for message in take(queue, 3))
    print(f'{kind}: a put back before c and d: then {found}')
    check(found == first, f'{kind}: one message put back')

    queue = filled(kind, 'three', 'abc')
    back(*reversed(take(queue, 3)))
    found = ', '.join(message.body for message in take(queue, 3))
    print(f'{kind}: c, b, a put back in turn: then {found}')
    check(found == turned, f'{kind}: three messages put back')
PY
