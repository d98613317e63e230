"""Pictures of students and of what they answer, as matplotlib figures."""
