"""Producers and consumers of a stream in threads of their own: videos are read and encoded while the GPU works."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LOOK_SECONDS = 0.2  # how often a producer that waits looks whether its consumer is still there


class Cut(Exception):
    """What a consumer's stream raises when its producer has failed: nothing of it may be kept."""


@contextlib.contextmanager
def feeding(consume: Callable[[Iterator[Item]], object], ahead: int = 64) -> Iterator[Callable[[Item], None]]:
    """`with feeding(consume) as feed: feed(item)` runs `consume(items)` beside the block.

    The items come in order; a producer that is more than `ahead` of them in front waits. Leaving the block ends the
    stream and waits for the consumer; where the block raises, the stream raises Cut. What the consumer raises is raised
    by the next `feed`, or at the end. One that returns early is not asked for more.
    """
    items: queue.Queue = queue.Queue(ahead)
    cut, done, failed = threading.Event(), threading.Event(), []

    def stream() -> Iterator[Item]:
        while True:
            kept = items.get()
            if cut.is_set():
                raise Cut
            if not kept:
                return
            yield kept[0]

    def work() -> None:
        try:
            consume(stream())
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    def put(kept: tuple) -> None:
        while not done.is_set():
            with contextlib.suppress(queue.Full):
                items.put(kept, timeout=LOOK_SECONDS)
                return
        if failed and not cut.is_set():
            raise failed[0]

    thread = threading.Thread(target=work, name="consumer")
    thread.start()
    try:
        yield lambda item: put((item,))
        put(())
    except BaseException:
        cut.set()
        put(())
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]


def ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """The same items, made in a thread, up to `count` of them and the one in hand before they are asked for.

    What making them raises is raised in its place. A stream that is closed or forgotten ends its thread.
    """
    made: queue.Queue = queue.Queue(count)
    closed = threading.Event()

    def put(kept: tuple) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                made.put(kept, timeout=LOOK_SECONDS)
                return

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if closed.is_set():
                    return
            put(())
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="producer", daemon=True)
    thread.start()
    try:
        while kept := made.get():
            item, error = kept
            if error:
                raise error
            yield item
    finally:
        closed.set()
        thread.join()
