"""What lies on this machine, read back: tables of rows, runs, stores and probes, differences of two runs, the machine itself."""
