"""How the frameworks say what an operator says: questions become real calls, and layer expressions become questions.

Pure text and dataclasses. No framework is imported and nothing that a user wrote is evaluated; whoever wants to know
whether a call holds has it run elsewhere (`conformance.run.rehearsal`).
"""
