#!/usr/bin/env bash
# 2026-11-30. Versions: RabbitMQ 3.10.8 (Debian 12), amqp 5.4.2 (py-amqp), CPython 3.11.
# RabbitMQ: deleting a quorum queue "if empty" or "if unused" closes the connection, with all its consumers.
#
# One would guess that queue.delete(if_empty=True) deletes the queue or fails on its channel (406, as for a classic
# queue that is not empty), and that a condition the queue does not know is ignored or refused there as well.
# What happens: 540 NOT_IMPLEMENTED, which AMQP makes an error of the connection: the broker closes all of it. A
# tidy-up that removes idle queues takes down the consumers on the other channels, and their unacknowledged messages
# are delivered again. A consumer after basic_qos with global=True ends it likewise.
#
# Source: AMQP 0-9-1, reply codes: 540 is an error of the connection, 406 one of the channel; for queue.delete
# with if-empty the reference names 406 alone.
# Seen:
#   classic, not empty, if_empty: PreconditionFailed (406); the other channel lives: True
#   quorum, if_empty: AMQPNotImplementedError (540); the other channel lives: False
#   quorum, if_unused: AMQPNotImplementedError (540); the other channel lives: False
#   quorum, no condition: deleted; the other channel lives: True

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


def delete(kind, condition):
    """What becomes of a queue that holds a message, and of another channel on the same connection."""
    connection = connect()
    other, channel = connection.channel(), connection.channel()
    queue = f'{kind}-{"-".join(condition)}'
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments={'x-queue-type': kind})
    channel.basic_publish_confirm(amqp.Message('a'), routing_key=queue)
    try:
        channel.queue_delete(queue, **condition)
        result = 'deleted'
    except amqp.AMQPError as error:
        result = f'{type(error).__name__} ({error.code})'
    try:
        other.queue_declare('', exclusive=True)
        lives = True
    except (amqp.AMQPError, OSError):
        lives = False
    return result, lives


for shown, kind, condition, expected in (
    ('classic, not empty, if_empty', 'classic', {'if_empty': True}, ('PreconditionFailed (406)', True)),
    ('quorum, if_empty', 'quorum', {'if_empty': True}, ('AMQPNotImplementedError (540)', False)),
    ('quorum, if_unused', 'quorum', {'if_unused': True}, ('AMQPNotImplementedError (540)', False)),
    ('quorum, no condition', 'quorum', {}, ('deleted', True)),
):
    result, lives = delete(kind, condition)
    print(f'{shown}: {result}; the other channel lives: {lives}')
    check((result, lives) == expected, shown)
PY
