#!/bin/sh
# From nothing to two workers, on one machine with Debian; docs/howto/cluster.rst explains each step.
set -eu

# 1. the extra, on the machines of the workers and of those that ask
pip install 'napixclient[cluster]'

# 2. the broker, with a user of its own for the cluster
apt-get install rabbitmq-server
rabbitmqctl add_user napix PASSWORD
rabbitmqctl set_permissions napix '.*' '.*' '.*'

# 3. a key, the same file on all machines
napix cluster key > key

# 4. two workers
export NAPIX_BROKER=amqp://napix:PASSWORD@localhost/
napix worker --number 0 --of 2 --key @key --allow 10.0.0.0/8 &
napix worker --number 1 --of 2 --key @key --allow 10.0.0.0/8 &

# 5. ask, by the command or by a program
napix get web[1-1000].example /status --via "$NAPIX_BROKER" --via-key @key
python fan_out.py "$NAPIX_BROKER" @key web1.example web2.example

# 6. see how it fares
napix cluster status --broker "$NAPIX_BROKER"
