"""Who answers: one module a framework, each imported only inside a worker process."""
