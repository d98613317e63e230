"""Make quantum students for `qdinfer` to run. Needs the extra ``distill``."""
