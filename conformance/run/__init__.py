"""What happened: the plan, the engine, results, the store, training."""
