"""Every error a user can meet, as one tree; each boundary translates into it once.

CorralError                    base; `message` holds the fact, the limit and the fix in one line, `public` the
│                              same for a client over HTTP, who learns no paths of this machine
├── InvalidReference           a model reference that can't be parsed
├── ConfigError                a setting with a bad value, or an unknown key
├── ModelNotFound              nothing here (or on the Hub) by that name
│   └── AdapterNotFound        no LoRA adapter by that id
├── StoreError                 the store can't be read, locked or written
│   └── DiskFull               not enough free space for what was planned
├── HubError                   the Hub refused or failed
│   ├── HubUnreachable         no network, HF_HUB_OFFLINE, or the connection broke for good
│   ├── AccessDenied           gated or private, or a bad token
│   └── DownloadCorrupt        bytes that don't match the Hub's sha256 or size
├── InvalidGGUF                a GGUF file that is malformed, with the reason
├── CheckpointError            weights or their config that can't be read
│   ├── UnknownArchitecture    no mapping for this `architectures` entry
│   └── UnknownTokenizer       a tokenizer that can't be expressed in GGUF
├── QuantizationError          a plan that can't be made or carried out
├── LlamaCppError              llama.cpp refused or failed
│   ├── ModelLoadError         the file doesn't load
│   ├── ContextError           the context can't be made (memory, bad sizes)
│   ├── DecodeError            a batch failed; `status` is llama_decode's
│   └── RestoreError           a saved prefix could not be put back; `slots` are empty
├── NotKept                    no response, conversation or item by that id; `param` goes to the wire
├── WorkerError                a model's process
│   ├── WorkerDied             it ended while it had work
│   ├── RpcServerError         a server that computes a part of a model is gone, busy, or another than needed
│   └── WorkerBusy             its queue is full; `retry_after_s` says when to come back
├── RateLimited                an API key has used up what it may use; `retry_after_s` says until when
└── RequestError               a client's request that can't be served; `param` and `code` go to the wire
    ├── ContextLengthExceeded  prompt and completion don't fit the context
    ├── NotServed              another server's route that this one doesn't have
    └── NotAllowed             an API key without the right to it
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 4000
"""A message has at most so many characters: values of strangers' files and requests stand in it."""
_END: Final = 500
"""The characters at a message's end, with the fix, that are kept of a longer one."""


class CorralError(Exception):
    """Base of all errors meant for a user. `message` is one line: the fact, the limit, the fix."""

    def __init__(self, message: str) -> None:
        """Keep the message; of one that is too long, the beginning and the end."""
        if len(message) > LONGEST:
            message = f"{message[: LONGEST - _END - 3]} … {message[-_END:]}"
        super().__init__(message)
        self.message = message
        self.public = message
        """The line for a client over HTTP. Where it differs from `message`, whoever sends it logs that."""


class InvalidReference(CorralError):
    """A model reference that can't be parsed."""


class ConfigError(CorralError):
    """A setting with a bad value, or an unknown key."""


class ModelNotFound(CorralError):
    """No model by that name, here or on the Hub."""


class AdapterNotFound(ModelNotFound):
    """No LoRA adapter by that id."""


class StoreError(CorralError):
    """The store can't be read, locked or written."""

    def __init__(self, message: str, public: str | None = None) -> None:
        """`public` says it without the paths of this machine; None: `message` has none."""
        super().__init__(message)
        if public is not None:
            self.public = public


class DiskFull(StoreError):
    """Not enough free space for what was planned."""


class HubError(CorralError):
    """The Hub refused or failed."""


class HubUnreachable(HubError):
    """No network, offline mode, or a connection that broke for good."""


class AccessDenied(HubError):
    """A gated or private repository, or a bad token."""


class DownloadCorrupt(HubError):
    """Bytes that don't match the size or sha256 the Hub gave for them."""


class InvalidGGUF(CorralError):
    """A GGUF file that is malformed."""


class CheckpointError(CorralError):
    """Weights, or their configuration, that can't be read."""


class UnknownArchitecture(CheckpointError):
    """No mapping for the checkpoint's architecture."""


class UnknownTokenizer(CheckpointError):
    """A tokenizer that has no faithful form in GGUF."""


class QuantizationError(CorralError):
    """A quantization that can't be planned or carried out."""


class LlamaCppError(CorralError):
    """llama.cpp refused or failed."""


class ModelLoadError(LlamaCppError):
    """The model file doesn't load."""


class ContextError(LlamaCppError):
    """A context can't be made."""


class DecodeError(LlamaCppError):
    """A batch failed. `status` is llama_decode's return value: 1 no KV cells, 2 aborted, below 0 fatal."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RestoreError(LlamaCppError):
    """A saved prefix could not be put back into the KV cache. `slots`: those that are empty for it."""

    def __init__(self, message: str, slots: frozenset[int]) -> None:
        super().__init__(message)
        self.slots = slots


class NotKept(CorralError):
    """Nothing by that id is kept for this client. `param` names the field of the request that has the id."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class WorkerError(CorralError):
    """A model's worker process failed."""


class WorkerDied(WorkerError):
    """The worker process ended while it had work.

    `retry_after_s`: when another one may be there; `is_killed`: the system or a person ended it by SIGKILL;
    `is_remote`: another machine that computes a part of the model was gone, or said something wrong.
    """

    def __init__(
        self,
        message: str,
        retry_after_s: float | None = None,
        *,
        is_killed: bool = False,
        is_remote: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_killed = is_killed
        self.is_remote = is_remote


class RpcServerError(WorkerError):
    """A server that computes a part of a split model is gone, busy, or of another version.

    `retry_after_s`: when it is asked again.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerBusy(WorkerError):
    """The worker's queue is full. `retry_after_s`: when to come back."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(CorralError):
    """An API key has used up what it may use. `retry_after_s`: when to come back; None: never like this."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestError(CorralError):
    """A client's request that can't be served. `param` and `code` go to the wire as they are."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class NotServed(RequestError):
    """A request for what another server does and this one doesn't."""


class ContextLengthExceeded(RequestError):
    """Prompt and completion don't fit the context."""

    def __init__(
        self, message: str, param: str | None = "messages", *, n_prompt: int = 0, n_ctx: int = 0
    ) -> None:
        super().__init__(message, param, "context_length_exceeded")
        self.n_prompt, self.n_ctx = n_prompt, n_ctx


class NotAllowed(RequestError):
    """An API key without the right to what is requested."""
