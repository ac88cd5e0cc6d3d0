"""What is asked: cases, the operators' contracts, geometry, inputs, and the messages that carry a question."""
