"""What every room stands on: files, locks, progress, memory, guards."""
