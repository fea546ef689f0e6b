"""What has nothing to do with anomalies: errors, paths, console, threads, processes."""
