"""The study of the throughput."""
