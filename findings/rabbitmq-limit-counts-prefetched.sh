#!/usr/bin/env bash
# 2026-11-30. Versions: RabbitMQ 3.10.8 (Debian 12), amqp 5.4.2 (py-amqp), CPython 3.11.
# RabbitMQ: a delivery limit throws away messages that no consumer has begun.
#
# One would guess that x-delivery-limit counts the attempts to work on a message: "poison messages" are those that
# consumers fail on. It is the guard against a message that kills its worker.
# What happens: each delivery counts, so that all that were prefetched do, begun or not, also when the consumer closes
# its connection in order. With a limit of 2, three restarts of a worker are enough: the third takes all ten messages
# along that waited in its buffer. Without a dead-letter exchange they are gone, and the publisher has its confirm. The
# smaller the prefetch, the fewer are lost.
#
# Source: RabbitMQ's guide "Quorum Queues", "Poison Message Handling": it speaks of a consumer that requeues a
# delivery repeatedly, not of one that goes away.
# Seen:
#   published and confirmed: 10
#   consumer 1: 10 prefetched, none begun, closed in order
#   consumer 2: 10 prefetched, none begun, closed in order
#   consumer 3: 10 prefetched, none begun, closed in order
#   left in the queue: 0

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


QUEUE = 'work'
publisher = connect().channel()
arguments = {'x-queue-type': 'quorum', 'x-delivery-limit': 2}
publisher.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)
for number in range(10):
    publisher.basic_publish_confirm(amqp.Message(str(number)), routing_key=QUEUE)


def ready(expected):
    """How many messages wait, after at most five seconds for the queue to settle."""
    for _ in range(50):
        count = publisher.queue_declare(QUEUE, passive=True).message_count
        if count == expected:
            break
        time.sleep(0.1)
    return count


print(f'published and confirmed: {ready(10)}')
for number in range(1, 4):
    connection, prefetched = connect(), []
    channel = connection.channel()
    channel.basic_qos(0, 10, False)
    channel.basic_consume(QUEUE, callback=prefetched.append)
    end = time.monotonic() + 5
    while len(prefetched) < 10 and time.monotonic() < end:
        connection.drain_events(timeout=5)
    print(f'consumer {number}: {len(prefetched)} prefetched, none begun, closed in order')
    check(len(prefetched) == 10, f'what consumer {number} is given')
    connection.close()
    left = ready(10 if number < 3 else 0)
print(f'left in the queue: {left}')
check(left == 0, 'a delivery that nobody began is not counted')
PY
