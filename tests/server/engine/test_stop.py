from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.engine.stop import StopChecker, StopStrings
from tests.server.engine.harness import before_stop

few_letters = st.text(alphabet="ab#\n", min_size=0, max_size=30)


def feed_all(checker: StopChecker, pieces: list[str]) -> str:
    shown = ""
    for piece in pieces:
        shown += checker.feed(piece)
        if checker.matched is not None:
            return shown
    return shown + checker.flush()


@given(few_letters, st.lists(st.text(alphabet="ab#\n", min_size=1, max_size=4), max_size=4))
def test_any_split_gives_the_text_before_the_first_stop(text: str, stops: list[str]) -> None:
    whole = before_stop(text, stops)
    stopped = any(stop in text for stop in stops)
    one_by_one = StopChecker(StopStrings(tuple(stops)))
    assert feed_all(one_by_one, list(text)) == whole
    assert (one_by_one.matched is not None) == stopped
    at_once = StopChecker(StopStrings(tuple(stops)))
    assert feed_all(at_once, [text]) == whole


def test_a_possible_beginning_is_held_back_until_it_is_none() -> None:
    checker = StopChecker(StopStrings(("###",)))
    assert checker.feed("a #") == "a "
    assert checker.feed("#") == ""
    assert checker.feed(" b") == "## b"
    assert checker.matched is None


def test_the_longest_possible_beginning_is_held_back() -> None:
    checker = StopChecker(StopStrings(("abac",)))
    assert checker.feed("xaba") == "x"
    assert checker.feed("b") == "ab"
    assert checker.feed("ac") == ""
    assert checker.matched == "abac"


def test_of_stops_that_end_together_the_longest_counts() -> None:
    checker = StopChecker(StopStrings((":", "USER:")))
    assert checker.feed("yes USER: no") == "yes "
    assert checker.matched == "USER:"


def test_the_stop_that_is_whole_first_counts() -> None:
    checker = StopChecker(StopStrings(("a long one", "long")))
    assert checker.feed("such a long one") == "such a "
    assert checker.matched == "long"


def test_nothing_comes_after_the_match() -> None:
    checker = StopChecker(StopStrings(("x",)))
    assert checker.feed("ax") == "a"
    assert checker.feed("bcd") == ""
    assert checker.flush() == ""


def test_empty_stop_strings_stop_nothing() -> None:
    checker = StopChecker(StopStrings(("",)))
    assert checker.feed("abc") == "abc"


def test_thousands_of_stops_stop_as_one_does() -> None:
    stops = tuple(f"\nName{at}:" for at in range(4_000))
    checker = StopChecker(StopStrings(stops))
    assert feed_all(checker, ["Hello", " there", "\nName", "39", "99", ":", " more"]) == "Hello there"
    assert checker.matched == "\nName3999:"
    other = StopChecker(StopStrings(stops))
    assert feed_all(other, ["a\n", "Name", "4000", ": b"]) == "a\nName4000: b"


@given(
    st.text(alphabet="ab", max_size=60),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=12), max_size=30),
)
def test_what_is_held_back_is_all_that_could_begin_a_stop(text: str, stops: list[str]) -> None:
    strings = StopStrings(tuple(stops))
    shown = StopChecker(strings).feed(text)
    if any(stop in text for stop in stops):
        return
    begins = [at for at in range(len(text)) if any(stop.startswith(text[at:]) for stop in stops)]
    assert len(shown) == min(begins, default=len(text))


# --- stop strings that name tokens without text ---

END, TURN = 2, 7
NAMES = {END: "</s>", TURN: "<turn>"}
MARKS = {END: "\x02", TURN: "\x07"}
"""The reference writes such a token as one character."""


def take_all(checker: StopChecker, said: list[str | int]) -> str:
    """Feed letters and tokens one by one."""
    shown = ""
    for piece in said:
        shown += checker.token(piece) if isinstance(piece, int) else checker.feed(piece)
    return shown + checker.flush()


def expected(said: list[str | int], stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string that is whole first, and that stop string.

    A token without text that no stop string names is as if it weren't there.
    """
    so_far = ""
    for piece in said:
        if isinstance(piece, int):
            so_far += MARKS[piece] if any(NAMES[piece] in stop for stop in stops) else ""
        else:
            so_far += piece
        found: list[tuple[int, str]] = []
        for stop in filter(None, stops):
            marked = stop.replace("</s>", "\x02").replace("<turn>", "\x07")
            if marked != stop and so_far.endswith(marked):
                found.append((len(so_far) - len(marked), stop))
            if (shown := without_marks(so_far)).endswith(stop):
                start = next(
                    at for at in range(len(so_far)) if without_marks(so_far[:at]) == shown[: -len(stop)]
                )
                while without_marks(so_far[start]) == "":
                    start += 1
                found.append((start, stop))
        if found:
            start, stop = min(found)
            return without_marks(so_far[:start]), stop
    return without_marks(so_far), None


def without_marks(text: str) -> str:
    return text.replace("\x02", "").replace("\x07", "")


named_stops = st.lists(
    st.lists(st.sampled_from(["a", "b", "</s>", "<turn>", "<", "s>"]), min_size=1, max_size=3).map("".join),
    min_size=1,
    max_size=3,
)


@given(st.lists(st.sampled_from([*"ab<s>/", END, TURN]), max_size=25), named_stops)
def test_named_tokens_stop_and_never_show(said: list[str | int], stops: list[str]) -> None:
    named = {token: name for token, name in NAMES.items() if any(name in stop for stop in stops)}
    checker = StopChecker(StopStrings(tuple(stops), named))
    shown = take_all(checker, said)
    assert (shown, checker.matched) == expected(said, stops)


def test_a_token_stops_alone_and_with_the_text_around_it() -> None:
    alone = StopChecker(StopStrings(("</s>",), {END: "</s>"}))
    assert (alone.feed("yes"), alone.token(END), alone.matched) == ("yes", "", "</s>")
    within = StopChecker(StopStrings(("bye</s>\n",), {END: "</s>"}))
    assert (within.feed("good "), within.feed("bye"), within.token(END)) == ("good ", "", "")
    assert (within.feed("\n"), within.matched, within.flush()) == ("", "bye</s>\n", "")


def test_the_name_as_text_stops_too() -> None:
    checker = StopChecker(StopStrings(("</s>",), {END: "</s>"}))
    assert take_all(checker, list("yes</s>no")) == "yes"
    assert checker.matched == "</s>"


def test_a_token_that_ends_in_no_stop_leaves_the_text_whole() -> None:
    checker = StopChecker(StopStrings(("a</s>b", "cd"), {END: "</s>"}))
    assert take_all(checker, ["x", "a", END, "c"]) == "xac"
    assert (
        take_all(StopChecker(StopStrings(("cd", "</s>!"), {END: "</s>"})), ["x", "c", END, "d", "e"]) == "x"
    )


def test_a_token_that_no_stop_names_is_nothing() -> None:
    checker = StopChecker(StopStrings(("ab",), {}))
    assert (checker.feed("a"), checker.token(END), checker.feed("b")) == ("", "", "")
    assert checker.matched == "ab"
