"""What the command line does, a module a theme; `conformance.cli` names the commands.

Each command imports what it needs: `--help` and `list` stay quick, and no command imports a framework.
"""
