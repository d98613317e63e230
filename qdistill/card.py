"""The model card, written from the same numbers as the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping

from qdinfer.circuit import Circuit
from qdinfer.manifest import Manifest

from .names import TITLES

__all__ = ["model_card", "show_number"]

_LIMITS = """\
- It knows its classes and nothing else: any text gets one of the labels above.
- A circuit of this size has not been seen to beat a classical layer of the same width. What decides the accuracy is the
  encoder; the circuit stands in for a small dense layer, and can run on quantum hardware.
- Probabilities are as sure as training made them; they were not calibrated."""

_HUB_LICENSES = re.compile(
    r"afl-3\.0|apache-2\.0|artistic-2\.0|bsd-[23]-clause|bsl-1\.0|cc0-1\.0|cc-by(-nc)?(-nd|-sa)?-4\.0|ecl-2\.0|epl-2\.0"
    r"|eupl-1\.2|isc|mit|mpl-2\.0|ms-pl|ncsa|ofl-1\.1|osl-3\.0|postgresql|unlicense|zlib"
)
"""Licenses that the Hugging Face Hub calls by their SPDX identifier in lower case."""


def show_number(value: float) -> str:
    """A measured number for people: counts whole, all else with four digits."""
    return str(int(value)) if value.is_integer() else f"{value:.4g}"


def model_card(manifest: Manifest, circuit: Circuit) -> str:
    """Markdown about a student: task, how to run it, numbers, limits, origin.

    Its first lines are metadata for the Hugging Face Hub, which reads them there and nowhere else.
    """
    provenance = manifest.provenance
    gates = ", ".join(f"{count} {name}" for name, count in circuit.gate_counts.most_common())
    engine = "compiled, for the exact engine" if manifest.compiled else 'not compiled: run it with `backend="aer"`'
    own = {name: value for name, value in provenance.metrics.items() if not name.startswith("compare_")}
    metrics = "".join(f"| {name} | {show_number(value)} |\n" for name, value in own.items())
    settings = "".join(f"| {name} | {value} |\n" for name, value in provenance.settings.items())
    return f"""\
{_front_matter(provenance.license)}
# {manifest.name}

A quantum student: a text classifier that turns a text into {len(circuit.inputs)} angles, runs a trained circuit of
{circuit.num_qubits} qubits on them, and reads the label off {len(circuit.observables)} expectation values.

- Labels: {", ".join(f"`{label}`" for label in manifest.labels)}
- Data: {provenance.data or "not given"}
- Teacher: {provenance.teacher or "none; trained on labels"}
{_device(provenance.settings)}
## Run it

```python
from qdinfer import Classifier

clf = Classifier.load("{manifest.name}")
print(clf.predict(["some text"]))
```

## Numbers

| what | value |
|---|---|
{metrics or "| none measured | |" + chr(10)}
{_beside(provenance.metrics)}## Inside

- Encoder: at most {manifest.encoder.max_tokens} tokens a text.
- Circuit: {gates}.
- Exact engine: {engine}.

## Limits

{_LIMITS}

## Licenses

{_licenses(provenance.license)}

## Origin

```
{provenance.command or "not given"}
```

{"| setting | value |" + chr(10) + "|---|---|" + chr(10) + settings if settings else ""}
Made with {provenance.made_with}.
"""


def _device(settings: Mapping[str, object]) -> str:
    """For which device it was trained, if for one."""
    if "device" not in settings:
        return ""
    return f"""\
- Trained for: {settings["device"]} at {settings["device_shots"]} shots a text. Its readout expects values as damped as
  there; the exact engine, on which it is measured below, does not damp them, and is too sure of its answers.
"""


def _front_matter(license: str | None) -> str:
    named = f"license: {_hub_license(license)}\n" if license else ""
    return f"""\
---
{named}library_name: qdinfer
pipeline_tag: text-classification
tags:
- quantum
- quantum-machine-learning
---
"""


def _hub_license(text: str) -> str:
    """The license that every part ends with, if they agree and the Hub has it; or ``other``: see the card."""
    named = {part.split()[-1].lower() for part in text.split(";") if part.strip()}
    name = named.pop() if len(named) == 1 else ""
    return name if _HUB_LICENSES.fullmatch(name) else "other"


def _beside(metrics: Mapping[str, float]) -> str:
    """The others of a comparison, if there was one."""
    rows = [
        f"| {title} | {metrics[f'compare_{name}_accuracy']:.3f} "
        f"| {metrics[f'compare_{name}_95_low']:.3f} to {metrics[f'compare_{name}_95_high']:.3f} "
        f"| {show_number(metrics[f'compare_{name}_trainings'])} |"
        for name, title in TITLES.items()
        if f"compare_{name}_accuracy" in metrics
    ]
    if not rows:
        return ""
    head = ["| on the same test texts | mean accuracy | 95 % interval | trainings |", "|---|---|---|---|"]
    return "\n".join(["## Beside others", "", *head, *rows, "", ""])


def _licenses(text: str | None) -> str:
    return "\n".join(f"- {part.strip()}" for part in text.split(";")) if text else "Not given."
