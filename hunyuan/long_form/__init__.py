"""Sound for films of any length: windows in constant memory, as jobs that survive being killed."""
