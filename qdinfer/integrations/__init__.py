"""Students inside other people's software. Each module is thin, and stands behind the extra of its own name."""
