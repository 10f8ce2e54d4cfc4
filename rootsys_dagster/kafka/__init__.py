"""What every connection to Kafka brokers has in common: addresses, TLS, SASL, and what went wrong as errors of ours."""
