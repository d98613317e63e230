"""``/metrics``: what Prometheus reads, and that it rises by what was sent."""

from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families
from serve.conftest import Ask, Held

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Name and labels → value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(ask: Ask) -> Samples:
    response = ask("GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(response.text)


def rise(before: Samples, after: Samples, name: str, **labels: str) -> float:
    key = name, tuple(sorted(labels.items()))
    return after[key] - before.get(key, 0.0)


def test_counters_rise_by_what_was_sent(ask: Ask) -> None:
    before = scrape(ask)
    for _ in range(3):
        assert ask("POST", "/v1/classify", json={"texts": ["sun", "goal", "sun rain goal match bank"]}).is_success
    assert ask("POST", "/v1/classify", json={"texts": ["sun"], "shots": 10}).is_success
    assert ask("POST", "/v1/classify", json={"texts": 5}).status_code == 400
    assert ask("POST", "/v1/classify", json={"texts": ["a"] * 1025}).status_code == 413
    assert ask("POST", "/v1/classify", json={"texts": "a", "model": "x"}).status_code == 404
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["rain"]}
    assert ask("POST", "/v2/models/tiny/infer", json={"inputs": [tensor]}).is_success
    after = scrape(ask)

    requests = {
        status: rise(before, after, "qdinfer_requests_total", route="/v1/classify", status=status)
        for status in ("200", "400", "404", "413")
    }
    assert requests == {"200": 4, "400": 1, "404": 1, "413": 1}
    assert rise(before, after, "qdinfer_requests_total", route="/v2/models/{model}/infer", status="200") == 1
    assert rise(before, after, "qdinfer_request_seconds_count", route="/v1/classify") == 7
    assert 0 < rise(before, after, "qdinfer_request_seconds_sum", route="/v1/classify") < 60
    assert rise(before, after, "qdinfer_texts_total", model="tiny") == 11
    assert rise(before, after, "qdinfer_truncated_texts_total", model="tiny") == 3
    exact, sampled = ({"model": "tiny", "queue": queue} for queue in ("exact", "sampled"))
    assert rise(before, after, "qdinfer_batch_texts_count", **exact) == 4
    assert rise(before, after, "qdinfer_batch_texts_sum", **exact) == 10
    assert rise(before, after, "qdinfer_batch_texts_bucket", le="2.0", **exact) == 1
    assert rise(before, after, "qdinfer_batch_texts_sum", **sampled) == 1
    assert rise(before, after, "qdinfer_batch_seconds_total", **exact) > 0
    assert rise(before, after, "qdinfer_batch_seconds_total", **sampled) > 0
    for queue in (exact, sampled):
        assert after["qdinfer_waiting_texts", tuple(sorted(queue.items()))] == 0


def test_labels_are_few_whatever_is_asked_for(ask: Ask) -> None:
    before = scrape(ask)
    for i in range(50):
        ask("GET", f"/page/{i}")
        ask("GET", f"/v2/models/{i}")
        ask("GET", f"/v2/models/{i}/versions/{i}/ready")
        ask("POST", f"/v2/models/{i}/infer", json={})
        ask("POST", "/v1/classify", json={"texts": "a", "model": str(i)})
        ask("GET", f"/static-offline-docs/{i}")
        ask("PUT", f"/v1/models?x={i}")
    added = {key for key in scrape(ask).keys() - before.keys() if key[0] == "qdinfer_requests_total"}
    assert {dict(labels)["route"] for _, labels in added} <= {
        "other",
        "/v1/classify",
        "/v1/models",
        "/v2/models/{model}",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/ready",
    }


def test_waiting_texts_are_seen(held: Held) -> None:
    async def steps() -> None:
        running = held.send(["one"])
        await held.started()
        waiting = [held.send(["a", "b"]), held.send(["c"], shots=5), held.send(["d"] * 5)]
        await held.waits(7)
        page = (await held.client.get("/metrics")).text
        assert samples(page)["qdinfer_waiting_texts", (("model", "tiny"), ("queue", "exact"))] == 7
        held.release()
        assert [response.status_code for response in await asyncio.gather(running, *waiting)] == [200] * 4
        page = (await held.client.get("/metrics")).text
        assert samples(page)["qdinfer_waiting_texts", (("model", "tiny"), ("queue", "exact"))] == 0

    held.run(steps())
