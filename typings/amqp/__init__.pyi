"""What the cluster takes from py-amqp."""
