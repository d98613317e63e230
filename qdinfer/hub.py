"""Students on the Hugging Face Hub."""
