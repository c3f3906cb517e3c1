"""The command line: one command, one file; every command has a twin in the library."""
