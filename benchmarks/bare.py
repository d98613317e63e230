"""The least that a student's files need: what `qdinfer` adds to the start is measured against this.

    python benchmarks/bare.py STUDENT TEXT

Opens the same files as `qdinfer`, without checking anything, and runs them with the same settings.
"""

import json
import os
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

student, text = sys.argv[1:]


def session(name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session of onnxruntime with qdinfer's settings."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(f"{student}/{name}", options, providers=["CPUExecutionProvider"])


with open(f"{student}/student.json", encoding="utf-8") as file:
    manifest = json.load(file)
tokenizer = Tokenizer.from_file(f"{student}/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(manifest["encoder"]["max_tokens"])
ids = np.array([tokenizer.encode(text).ids], np.int64)
angles = session("encoder.onnx", len(os.sched_getaffinity(0))).run(
    None, {"input_ids": ids, "attention_mask": np.ones_like(ids)}
)[0]
values = session("compiled.onnx", 1).run(None, {"angles": angles})[0]
logits = values @ np.array(manifest["readout"]["weights"]).T + np.array(manifest["readout"]["bias"])
print(manifest["labels"][int(logits.argmax())], flush=True)
