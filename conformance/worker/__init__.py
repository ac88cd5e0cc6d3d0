"""How a question is asked: messages, the process that hosts one backend, and the gateway that starts and feeds it."""
