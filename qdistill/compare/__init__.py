"""The paper's claim, tested: a student beside its classical twin and what else a user could deploy.

Every training has a process of its own, so that its peak memory is its own, and what is measured is kept at once: a
comparison that was stopped goes on where it was.
"""
