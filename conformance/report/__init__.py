"""What people see: one self-contained page of every run (`page`), and what machines are told (`summary`)."""
