"""Figures of requests and workers, counted where their events pass, and their text for Prometheus.

adapter_load.py     `AdapterLoad`: the LoRA adapters that requests are answered with, and those that requests
                    wait for.
exposition.py       `expose`: all figures as the text that Prometheus reads.
families.py         `request_families` and `worker_families`: the figures as Prometheus' families, each named
                    once.
figures.py          `FigureBook`: all that is counted of requests and workers, by model, type and arm.
histogram.py        `Histogram`: counts of values in buckets and their sum, cheap enough for every token.
loads.py            `load_of`: what one model has to do, as SGLang's servers tell it to routers. Pure.
origin.py           `Origin`: what is known of a request where it came in, for those who look at it further
                    down.
request_meter.py    `RequestMeter`: measures one request by the events that pass on their way to the client.
router_families.py  `router_families`: the few figures that routers and autoscalers read, under vLLM's names.
samples.py          `WorkerSample`: one model as it is this moment, with what its worker has counted.
step.py             `Step`: when a worker's step came, and how many of its tokens follow one of the step
                    before.
without_labels.py   `without_labels`: llama-server's figures as it has them, one number each for the whole
                    server. Pure.
"""
