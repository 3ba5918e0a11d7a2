"""What is measured on texts, written or generated: pure functions that tell a good text from a bad one."""
