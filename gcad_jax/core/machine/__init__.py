"""What a command takes of the machine: threads, memory, compiled programs."""
