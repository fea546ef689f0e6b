"""What a training costs: operations, time, memory, bytes between devices."""
