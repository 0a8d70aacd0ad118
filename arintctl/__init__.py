"""The command line, `arintctl`: words, output and exit codes; what it does stands in `arint.operations`."""
