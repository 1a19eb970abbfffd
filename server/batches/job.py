"""`BatchJob`: one batch from where it stands to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

import msgspec

from models.errors import CorralError, ModelNotFound, NotAllowed, RequestError, StoreError
from server.batches.input_lines import Input, InputLine, body_of, read_input
from server.batches.line_call import LineAnswer
from server.batches.records import BatchRecord, FileRecord, LineError, Status
from server.batches.result_files import Response, Result, ResultError, ResultFiles
from server.batches.store import BatchStore

logger = logging.getLogger("corral.batches")

MOST_TRIES = 4
"""A line whose requests fail for the server's reasons is tried so often; one that is to wait, any number."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
NOTES_AT_ONCE = 1_000
"""So many lines without an answer are noted at once."""

Call = Callable[[str, str, bytes], Awaitable[LineAnswer]]
"""The owner, the url and the body of a request to its answer, see `LineCaller`."""
Ending = Literal["completed", "cancelled", "expired", "failed"]

_NOT_RUN = {
    "cancelled": ResultError(
        code="batch_cancelled", message="This request wasn't executed: the batch was cancelled before."
    ),
    "expired": ResultError(
        code="batch_expired",
        message="This request could not be executed before the completion window expired.",
    ),
    "failed": ResultError(
        code="invalid_api_key",
        message="This request wasn't executed: the batch's API key has been removed or has expired.",
    ),
}

_KEY_LOST = LineError(
    code="invalid_api_key",
    message="The batch's API key was removed or has expired before all was answered.",
)


class BatchJob:
    """Runs one batch. `slots` bounds the lines of all batches that are answered at the same time."""

    def __init__(
        self,
        record: BatchRecord,
        store: BatchStore,
        call: Call,
        slots: asyncio.Semaphore,
        *,
        n_at_once: int,
        line_bytes: int,
        find_model: Callable[[str, str], object],
    ) -> None:
        self._record = record
        self._store = store
        self._call = call
        self._slots = slots
        self._n_at_once = n_at_once
        self._line_bytes = line_bytes
        self._find_model = find_model
        self._is_cancelled = asyncio.Event()
        self._results: ResultFiles | None = None
        self._finished: list[Result] = []
        self._flushing = asyncio.Lock()
        self._n_lines = 0

    def cancel(self) -> None:
        """Let the batch end as one that was cancelled, soon."""
        self._is_cancelled.set()

    async def run(self) -> None:
        """Bring the batch to its end.

        Cancelling this leaves it as it is, to be gone on with. So does StoreError, which is raised where its
        state can't be kept.
        """
        found = await self._read()
        if found is None:
            return
        record = self._record
        paths = self._store.path(record.output_file), self._store.path(record.error_file)
        try:
            self._n_lines = len(found.lines)
            with _as_unwritable(StoreError):
                self._results = await asyncio.to_thread(ResultFiles, *paths)
            ending = await self._answer_all(found.lines)
            await self._end(ending, found.lines)
        except _Unwritable as error:
            logger.warning("the batch %s failed: %s", record.id, error.reason.message)
            await self._close("failed", [LineError(code="storage_failed", message=error.reason.public)])
        finally:
            if self._results is not None:
                self._results.close()
            self._store.forget(record.output_file)

    async def fail(self) -> None:
        """End the batch, which `run` can't bring to its end. Raises StoreError."""
        message = (
            "The server met a defect in this batch, each time that it went on with it; its log has more."
        )
        await self._close("failed", [LineError(code="server_error", message=message)])

    # --- its lines ---

    async def _read(self) -> Input | None:
        """Return the batch's lines; None if it ended here, as what they say is wrong."""
        record = self._record
        try:
            path = self._store.path(record.input_file)
            found = await asyncio.to_thread(read_input, path, record.endpoint, self._line_bytes)
        except OSError as error:
            message = f"The input file can't be read: {error.strerror or error}."
            found = Input(errors=[LineError(code="input_file_unreadable", message=message)])
        if record.status == "validating":
            found.errors += self._unknown_models(found)
        if found.errors:
            await self._close("failed", found.errors)
            return None
        await self._change(
            ("validating",), "in_progress", in_progress_at=_now(), counts_total=len(found.lines)
        )
        return found

    def _unknown_models(self, found: Input) -> Iterator[LineError]:
        for model, line in found.models.items():
            try:
                self._find_model(self._record.owner, model)
            except ModelNotFound as error:
                yield LineError(code="model_not_found", message=error.message, param="body.model", line=line)
            except NotAllowed as error:
                yield LineError(
                    code="model_not_allowed", message=error.message, param="body.model", line=line
                )

    async def _answer_all(self, lines: Sequence[InputLine]) -> Ending:
        """Answer the lines that have no result yet, until that is done or it is time to end."""
        assert self._results is not None
        if self._record.status == "cancelling":
            return "cancelled"
        answered = self._results.answered()
        left = iter([line for line in lines if line.custom_id not in answered])
        fd = await asyncio.to_thread(os.open, self._store.path(self._record.input_file), os.O_RDONLY)
        workers = [asyncio.create_task(self._work(fd, left)) for _ in range(min(self._n_at_once, len(lines)))]
        done = asyncio.gather(*workers)
        cancelled = asyncio.create_task(self._is_cancelled.wait())
        try:
            await asyncio.wait(
                (done, cancelled),
                timeout=max(0.0, self._record.expires - time.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if done.done():
                try:
                    done.result()
                except _KeyLost:
                    return "failed"
                return "completed"
            return "cancelled" if self._is_cancelled.is_set() else "expired"
        finally:
            for task in (*workers, cancelled):
                task.cancel()
            await asyncio.gather(*workers, done, cancelled, return_exceptions=True)
            os.close(fd)
            with suppress(_Unwritable):  # what can't be written now is met again, or was already
                await self._flush()

    async def _work(self, fd: int, left: Iterator[InputLine]) -> None:
        """Answer one line after another."""
        for line in left:
            raw = await asyncio.to_thread(os.pread, fd, line.n_bytes, line.offset)
            result = await self._answer(line.custom_id, body_of(raw))
            self._finished.append(result)  # the list may be another one by now
            await asyncio.shield(asyncio.create_task(self._flush()))

    async def _answer(self, custom_id: str, body: bytes) -> Result:
        """Return a line's result, after as many tries as it takes."""
        pause_s, n_tries = FIRST_PAUSE_S, 0
        while True:
            async with self._slots:
                answer = await self._call(self._record.owner, self._record.endpoint, body)
            if answer.is_of_lost_key:
                raise _KeyLost
            n_tries += answer.status != 429
            never = answer.status == 429 and answer.retry_after_s is None  # it fits into no limit
            if never or answer.status not in (429, 500, 502, 503, 507) or n_tries >= MOST_TRIES:
                return _result(custom_id, answer)
            await asyncio.sleep(min(answer.retry_after_s or pause_s, LONGEST_PAUSE_S))
            pause_s *= 2

    # --- what is kept of it ---

    async def _flush(self) -> None:
        """Write the results that are there, those of several lines together."""
        async with self._flushing:
            results, self._finished = self._finished, []
            if results:
                await self._keep(results)

    async def _keep(self, results: Sequence[Result]) -> None:
        assert self._results is not None
        record = self._record
        n_bytes = sum(self._results.sizes) + sum(
            len(result.response.body) for result in results if result.response is not None
        )
        with _as_unwritable(RequestError):
            await self._store.check_room(record.output_file, n_bytes)
        with _as_unwritable(StoreError):
            await asyncio.to_thread(self._results.append, results)
        await self._store.note_counts(record.owner, record.id, self._results.counts(self._n_lines))

    async def _end(self, ending: Ending, lines: Sequence[InputLine]) -> None:
        """Note the lines that weren't answered, and end the batch."""
        assert self._results is not None
        if ending == "completed":
            await self._change(("in_progress",), "finalizing", finalizing_at=_now())
        else:
            answered = self._results.answered()
            left = [line.custom_id for line in lines if line.custom_id not in answered]
            for begin in range(0, len(left), NOTES_AT_ONCE):
                part = left[begin : begin + NOTES_AT_ONCE]
                await self._keep([_not_run(custom_id, _NOT_RUN[ending]) for custom_id in part])
        await self._close(ending, [_KEY_LOST] if ending == "failed" else [])

    async def _close(self, ending: Ending, errors: Sequence[LineError] = ()) -> None:
        """End the batch, and let its files be found."""
        record, results = self._record, self._results
        n_output, n_errors = (0, 0) if results is None else results.sizes
        now = _now()
        files = [
            FileRecord(
                id=file_id,
                owner=record.owner,
                filename=f"{record.id}_{kind}.jsonl",
                purpose="batch_output",
                n_bytes=n_bytes,
                created=now,
                expires=now + record.output_s,
            )
            for file_id, kind, n_bytes in (
                (record.output_file, "output", n_output),
                (record.error_file, "error", n_errors),
            )
            if n_bytes
        ]

        def with_end(current: BatchRecord) -> BatchRecord:
            status = "cancelled" if current.status == "cancelling" and ending != "failed" else ending
            return msgspec.structs.replace(
                current,
                status=status,
                errors=tuple(errors),
                has_output=n_output > 0,
                has_errors=n_errors > 0,
                counts=current.counts if results is None else results.counts(self._n_lines),
                **{f"{status}_at": now},
            )

        active: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
        await self._store.change_batch(record.owner, record.id, active, with_end, files)
        logger.info("the batch %s has ended: %s", record.id, ending)

    async def _change(
        self, allowed: Sequence[Status], status: Status, counts_total: int | None = None, **times: int
    ) -> None:
        """Go on to another state, unless the batch is to be cancelled meanwhile."""

        def with_changes(record: BatchRecord) -> BatchRecord:
            counts = record.counts
            if counts_total is not None:
                counts = msgspec.structs.replace(counts, total=counts_total)
            return msgspec.structs.replace(record, status=status, counts=counts, **times)

        record = self._record
        self._record = await self._store.change_batch(record.owner, record.id, allowed, with_changes)


class _KeyLost(Exception):
    """The owner's API key isn't good any more."""


class _Unwritable(Exception):
    """The files of the results can't be written."""

    def __init__(self, reason: CorralError) -> None:
        super().__init__(reason.message)
        self.reason = reason


@contextmanager
def _as_unwritable(kind: type[CorralError]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise _Unwritable(error) from error


def _result(custom_id: str, answer: LineAnswer) -> Result:
    body = answer.body
    try:
        if b"\n" in body:
            body = msgspec.json.encode(msgspec.json.decode(body))
        response = Response(
            status_code=answer.status, request_id=answer.request_id, body=msgspec.Raw(body or b"null")
        )
    except msgspec.DecodeError:
        message = f"The answer of status {answer.status} is no JSON."
        return _not_run(custom_id, ResultError(code="server_error", message=message))
    return Result(id=_new_id(), custom_id=custom_id, response=response)


def _not_run(custom_id: str, error: ResultError) -> Result:
    return Result(id=_new_id(), custom_id=custom_id, response=None, error=error)


def _new_id() -> str:
    return f"batch_req_{secrets.token_hex(16)}"


def _now() -> int:
    return int(time.time())
