"""Kafka: one topic, from the committed offsets to the ends that the partitions have when the read begins."""
